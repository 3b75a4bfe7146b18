"""Every error that the package raises has a documented code, and every documented code is raised."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nas_distill
from nas_distill.error_codes import CODES

PACKAGE = Path(nas_distill.__file__).parent
BASE = "NasDistillError"

NODES = {
    path.relative_to(PACKAGE).as_posix(): list(ast.walk(ast.parse(path.read_text("utf-8"))))
    for path in PACKAGE.rglob("*.py")
}
"""All nodes of every module."""


def error_classes() -> set[str]:
    """Return the names of all classes that derive from the base, in all modules."""
    definitions = [node for nodes in NODES.values() for node in nodes if isinstance(node, ast.ClassDef)]
    found = {BASE}
    while True:
        derived = {one.name for one in definitions if found & {getattr(base, "id", "") for base in one.bases}}
        if derived <= found:
            return found
        found |= derived


def calls(nodes: list[ast.AST], names: set[str]) -> Iterator[ast.Call]:
    """Yield the calls of functions and classes with these names."""
    for node in nodes:
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in names:
                yield node


def test_every_error_has_a_code() -> None:
    classes = error_classes()
    without = {
        f"{name}:{call.lineno}"
        for name, nodes in NODES.items()
        for call in calls(nodes, classes)
        if not any(keyword.arg == "code" for keyword in call.keywords)
    }
    assert without == set()


def test_every_code_that_is_raised_is_documented() -> None:
    names = error_classes() | {"broken_rule"}
    raised = {
        keyword.value.value
        for nodes in NODES.values()
        for call in calls(nodes, names)
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert raised - set(CODES) == set()


def test_every_documented_code_is_used() -> None:
    texts = {
        node.value
        for name, nodes in NODES.items()
        if name != "error_codes.py"
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(CODES) - texts == set()


def test_codes_name_their_area_and_have_one_sentence() -> None:
    for code, meaning in CODES.items():
        area, _, rule = code.partition(".")
        assert area.isidentifier(), code
        assert rule.isidentifier(), code
        assert rule == rule.lower(), code
        assert meaning.endswith("."), code
