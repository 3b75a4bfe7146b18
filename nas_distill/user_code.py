"""Imports users' Python files and modules, finds functions in them, and locates their errors."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from nas_distill.errors import ConfigError, SpaceError, nearest_names, one_line

_REFERENCE = re.compile(r"(?P<file>.+\.py)(?::(?P<function>\w+))?")


def split_reference(name: str) -> tuple[Path, str | None] | None:
    """Split `FILE.py[:function]` into its parts.

    Returns:
        The file and the function, None if none is named; or None if `name` does not refer to a file.
    """
    match = _REFERENCE.fullmatch(name)
    return None if match is None else (Path(match["file"]), match["function"])


def import_file(path: Path, *, field: str) -> ModuleType:
    """Import a Python file once per process and content.

    The module's name is a hash of the path and content, so that two files of the same name never collide.

    Args:
        path: Path of the file.
        field: Configuration key that names the file, for errors.

    Raises:
        SpaceError: The file cannot be read or imported.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpaceError(
            f"{path} cannot be read: {error.strerror or error}; give the path of a .py file",
            code="search.file_unreadable",
            field=field,
        ) from None
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode() + b"\0" + content).hexdigest()[:16]
    name = f"nas_distill_user_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved, loader=_SourceLoader(name, str(resolved)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SpaceError(
            f"{locate_error(error, resolved)}: cannot be imported: {one_line(error)}; fix the file",
            code="search.import_failed",
            field=field,
        ) from error
    return module


class _SourceLoader(SourceFileLoader):
    """Compiles a file each time: Python's cache misses an edit within a second that keeps the file's size."""

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


USER_MODULE_FIELDS = "plugins, space.name, space.recipe"
"""Configuration keys that `SearchConfig.user_modules` collects, for errors of workers."""


def import_modules(names: Iterable[str], *, field: str = "plugins") -> None:
    """Import users' modules, so that the losses, objectives, rules and architectures that they register are known.

    Args:
        names: Importable modules (`package.module`) or Python files (`FILE.py`).
        field: Configuration key that names them, for errors.

    Raises:
        SpaceError: A file cannot be read or imported.
        ConfigError: A module cannot be imported.
    """
    for name in names:
        if name.endswith(".py"):
            import_file(Path(name), field=field)
            continue
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"the module '{name}' cannot be imported: {one_line(error)}; install it, or give the path of a .py "
                "file",
                code="search.import_failed",
                field=field,
            ) from error


def get_function(module: ModuleType, name: str, *, parameters: Sequence[str], field: str) -> Callable[..., Any]:
    """Return a module's function after checking that it can be called with the given positional parameters.

    Args:
        module: Imported module.
        name: Name of the function.
        parameters: Names of the positional parameters, for the check and its error.
        field: Configuration key that names the function, for errors.

    Raises:
        SpaceError: There is no such function, or it cannot be called so.
    """
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None or not callable(function):
        known = [key for key, value in vars(module).items() if _is_defined_in(value, module)]
        raise SpaceError(
            f"{module.__file__} has no function '{name}'; {nearest_names(name, known)}; name one as FILE.py:function",
            code="space.no_function",
            field=field,
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in callables have no signature
        return function
    try:
        signature.bind(*parameters)
    except TypeError:
        raise SpaceError(
            f"{module.__file__}: '{name}{signature}' cannot be called with {len(parameters)} positional arguments; "
            f"write `def {name}({', '.join(parameters)})`",
            code="space.signature",
            field=field,
        ) from None
    return function


def _is_defined_in(value: object, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def locate_error(error: BaseException, path: Path) -> str:
    """Return `file:line` of the innermost line of a file that led to an error; the path alone if there is none.

    Args:
        error: Exception that was raised.
        path: Resolved path of the file.
    """
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f"{path}:{lines[-1]}" if lines else str(path)
