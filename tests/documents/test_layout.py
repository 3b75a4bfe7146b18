"""README.md and docs/: links, and references from the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = [path for folder in ("nas_distill", "search_spaces", "benchmarks") for path in (ROOT / folder).rglob("*.py")]


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_line_is_a_placeholder() -> None:
    for document in DOCUMENTS:
        assert re.findall(r"(?m)^[A-Z_]+$", document.read_text(encoding="utf-8")) == [], document


def test_every_relative_link_leads_to_a_page_and_a_heading() -> None:
    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            page = document if not path else document.parent / path
            if not page.exists() or (anchor and anchor not in anchors(page)):
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert broken == []


def test_pages_named_in_the_code_exist() -> None:
    named = {(path, name) for path in SOURCES for name in re.findall(r"docs/[\w/-]+\.md", path.read_text("utf-8"))}
    assert [f"{path}: {name}" for path, name in sorted(named) if not (ROOT / name).exists()] == []
