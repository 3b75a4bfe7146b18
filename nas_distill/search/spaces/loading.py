"""Loads search spaces, shipped ones and users' own files, and builds candidates from them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import search_spaces
from nas_distill.errors import SpaceError, StudyError, nearest_names, one_line
from nas_distill.records import StudentSpec
from nas_distill.records.space_trial import SpaceTrial
from nas_distill.user_code import get_function, import_file, locate_error, split_reference

DEFAULT_FUNCTION = "space"
_FIELD = "space.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A define-by-run search space.

    Attributes:
        name: Name as the user wrote it.
        function: Function that suggests parameters through a trial and returns a candidate.
        source_path: File that defines the space.
        doc: Docstring of the function, or else of its module; may be empty.
    """

    name: str
    function: Callable[[SpaceTrial], StudentSpec]
    source_path: Path
    doc: str


def list_spaces() -> tuple[str, ...]:
    """Return the names of the shipped spaces: the modules of `search_spaces` with a function `space`."""
    names = (module.name for module in pkgutil.iter_modules(search_spaces.__path__))
    return tuple(sorted(name for name in names if hasattr(_import_shipped(name), DEFAULT_FUNCTION)))


def load_space(name: str) -> Space:
    """Return the space called `name`.

    Args:
        name: Name of a shipped space, or `FILE.py[:function]`; the function defaults to `space`.

    Raises:
        SpaceError: The space, file or function does not exist; the file cannot be imported; or the function cannot be
            called with a trial as its only argument.
    """
    reference = split_reference(name)
    if reference is None:
        known = list_spaces()
        if name not in known:
            raise SpaceError(
                f"'{name}' is not a shipped space; {nearest_names(name, known)}; give your own as FILE.py[:function]",
                code="space.unknown",
                field=_FIELD,
            )
        module, function_name = _import_shipped(name), DEFAULT_FUNCTION
    else:
        path, given = reference
        module, function_name = import_file(path, field=_FIELD), given or DEFAULT_FUNCTION
    function = get_function(module, function_name, parameters=("trial",), field=_FIELD)
    return Space(
        name=name,
        function=function,
        source_path=Path(module.__file__ or name),
        doc=inspect.getdoc(function) or inspect.getdoc(module) or "",
    )


def propose(space: Space, trial: SpaceTrial) -> StudentSpec:
    """Return the candidate that a space builds from a trial's suggestions.

    Args:
        space: Space to call.
        trial: Trial that suggests the parameters.

    Raises:
        SpaceError: The space raised an exception, or did not return a `StudentSpec`.
        StudyError: The sampler or the storage of the study failed while the trial suggested a parameter.
    """
    try:
        spec = space.function(trial)
    except StudyError:
        raise
    except Exception as error:
        raise SpaceError(
            f"{locate_error(error, space.source_path)}: space '{space.name}' raised {one_line(error)}; fix the space",
            code="space.raised",
            field=_FIELD,
        ) from error
    if not isinstance(spec, StudentSpec):
        raise SpaceError(
            f"{space.source_path}: space '{space.name}' returned {spec!r:.80} ({type(spec).__name__}); "
            "return a nas_distill.records.StudentSpec",
            code="space.wrong_type",
            field=_FIELD,
        )
    return spec


def _import_shipped(name: str) -> ModuleType:
    return importlib.import_module(f"{search_spaces.__name__}.{name}")
