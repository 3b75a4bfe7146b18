"""Importing a user's Python file, and saying where in it something went wrong."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from nas_distill.errors import SpaceError, one_line


def import_file(path: Path) -> ModuleType:
    """Imports a file under a name of its content's own, so that two files called alike never meet.

    Raises:
        SpaceError: It cannot be read, or does not import.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read: {error.strerror or error}; give the path of a .py file") from None
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode() + b"\0" + content).hexdigest()[:16]
    name = f"nas_distill_space_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SpaceError(f"{where(error, resolved)}: does not import: {one_line(error)}") from error
    return module


def where(error: BaseException, path: Path) -> str:
    """Returns `file:line` of the innermost line of `path` that led to `error`."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f"{path}:{lines[-1]}" if lines else str(path)
