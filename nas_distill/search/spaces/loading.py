"""Finds search spaces, shipped ones and the user's own files, and asks them for candidates."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import search_spaces
from nas_distill.errors import SpaceError, StudyError, nearest_names, one_line
from nas_distill.records import StudentSpec
from nas_distill.records.space_trial import SpaceTrial
from nas_distill.search.user_code import import_file, where

DEFAULT_FUNCTION = "space"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A define-by-run search space.

    Attributes:
        name: As the user wrote it.
        function: Asks the trial for choices and returns a candidate.
        source_path: The file it was loaded from.
        doc: Documentation of the function, or of its module; may be empty.
    """

    name: str
    function: Callable[[SpaceTrial], StudentSpec]
    source_path: Path
    doc: str


def list_spaces() -> tuple[str, ...]:
    """Returns the names of the shipped spaces: modules of `search_spaces` with a function called `space`."""
    names = (module.name for module in pkgutil.iter_modules(search_spaces.__path__))
    return tuple(sorted(name for name in names if hasattr(_shipped(name), DEFAULT_FUNCTION)))


def load_space(name: str) -> Space:
    """Returns the space called `name`.

    Args:
        name: A shipped space, or `FILE.py[:function]` (the function is called `space` by default).

    Raises:
        SpaceError: There is no such space, file or function; the file does not import; or the function cannot
            be called with a trial alone.
    """
    own = re.fullmatch(r"(?P<file>.+\.py)(?::(?P<function>\w+))?", name)
    if own is None:
        known = list_spaces()
        if name not in known:
            raise SpaceError(
                f"space '{name}' is not shipped; {nearest_names(name, known)}; give your own as FILE.py[:function]"
            )
        module, wanted = _shipped(name), DEFAULT_FUNCTION
    else:
        module, wanted = import_file(Path(own["file"])), own["function"] or DEFAULT_FUNCTION
    path = Path(module.__file__ or name)
    function = getattr(module, wanted, None)
    if not callable(function):
        own_functions = [key for key, value in vars(module).items() if _is_defined_in(value, module)]
        raise SpaceError(
            f"{path}: has no function '{wanted}'; {nearest_names(wanted, own_functions)}; name one as FILE.py:function"
        )
    _check_signature(function, wanted, path)
    return Space(
        name=name,
        function=function,
        source_path=path,
        doc=inspect.getdoc(function) or inspect.getdoc(module) or "",
    )


def propose(space: Space, trial: SpaceTrial) -> StudentSpec:
    """Returns the candidate that `space` builds from the choices of `trial`.

    Raises:
        SpaceError: The space raised, or returned something else than a `StudentSpec`.
        StudyError: The sampler or the study's storage failed while the trial was asked.
    """
    try:
        spec = space.function(trial)
    except StudyError:
        raise
    except Exception as error:
        raise SpaceError(f"{where(error, space.source_path)}: space '{space.name}' raised {one_line(error)}") from error
    if not isinstance(spec, StudentSpec):
        raise SpaceError(
            f"{space.source_path}: space '{space.name}' returned {spec!r:.80} ({type(spec).__name__}); "
            "return a nas_distill.records.StudentSpec"
        )
    return spec


def _shipped(name: str) -> ModuleType:
    return importlib.import_module(f"{search_spaces.__name__}.{name}")


def _is_defined_in(value: object, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def _check_signature(function: Callable[..., object], name: str, path: Path) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in callables have none to show
        return
    try:
        signature.bind(None)
    except TypeError:
        raise SpaceError(
            f"{path}: '{name}{signature}' cannot be called with a trial alone; write `def {name}(trial)`"
        ) from None
