"""Loads search spaces, shipped ones and users' own files, and builds candidates from them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import search_spaces
from nas_distill.errors import SpaceError, StudyError, nearest_names, one_line
from nas_distill.records import SpaceContext, SpaceInfo, StudentSpec
from nas_distill.records.space_context import SpaceMisfitError, SpaceTrial
from nas_distill.user_code import get_function, import_file, locate_error, split_reference

DEFAULT_FUNCTION = "space"
_CONTEXT = "context"
_FIELD = "space.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A define-by-run search space.

    Attributes:
        name: Name as the user wrote it.
        function: Function that suggests parameters through a trial and returns a candidate.
        source_path: File that defines the space.
        doc: Docstring of the function, or else of its module; may be empty.
        takes_context: Whether the function receives the search's context as its second argument.
        info: Families and sizes that the space declares (`INFO` of its module); None if it declares none.
        describe: Function that says in one line what the space chose for a search (`describe` of a shipped module);
            None if it has none.
        first_points: Function that returns parameter values of candidates to try first, largest first (`first_points`
            of a shipped module); None if it has none.
    """

    name: str
    function: Callable[..., StudentSpec]
    source_path: Path
    doc: str
    takes_context: bool = False
    info: SpaceInfo | None = None
    describe: Callable[[SpaceContext], str] | None = None
    first_points: Callable[[SpaceContext], Sequence[Mapping[str, Any]]] | None = None


def list_spaces() -> tuple[str, ...]:
    """Return the names of the shipped spaces: the modules below `search_spaces` with a function `space`."""
    return tuple(sorted(_shipped()))


def load_space(name: str) -> Space:
    """Return the space called `name`.

    Args:
        name: Name of a shipped space, or `FILE.py[:function]`; the function defaults to `space`.

    Raises:
        SpaceError: The space, file or function does not exist; the file cannot be imported; the function can be called
            neither with a trial nor with a trial and a context; or `INFO` of its module is not a `SpaceInfo`.
    """
    reference = split_reference(name)
    if reference is None:
        shipped = _shipped()
        if name not in shipped:
            raise SpaceError(
                f"'{name}' is not a shipped space; {nearest_names(name, sorted(shipped))}; give your own as "
                "FILE.py[:function]",
                code="space.unknown",
                field=_FIELD,
            )
        module, function_name = shipped[name], DEFAULT_FUNCTION
    else:
        path, given = reference
        module, function_name = import_file(path, field=_FIELD), given or DEFAULT_FUNCTION
    takes_context = _takes_context(getattr(module, function_name, None))
    function = get_function(
        module, function_name, parameters=("trial", _CONTEXT) if takes_context else ("trial",), field=_FIELD
    )
    return Space(
        name=name,
        function=function,
        source_path=Path(module.__file__ or name),
        doc=inspect.getdoc(function) or inspect.getdoc(module) or "",
        takes_context=takes_context,
        info=_info(module),
        describe=getattr(module, "describe", None) if reference is None else None,
        first_points=getattr(module, "first_points", None) if reference is None else None,
    )


def propose(space: Space, trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """Return the candidate that a space builds from a trial's suggestions.

    Args:
        space: Space to call.
        trial: Trial that suggests the parameters.
        context: Data, teacher and limits of the search, for a space that takes them.

    Raises:
        SpaceError: The space does not suit the search, raised an exception, or did not return a `StudentSpec`.
        StudyError: The sampler or the storage of the study failed while the trial suggested a parameter.
    """
    try:
        spec = space.function(trial, context) if space.takes_context else space.function(trial)
    except StudyError:
        raise
    except SpaceMisfitError as error:
        raise SpaceError(
            f"space '{space.name}': {' '.join(str(error).split())}", code="space.misfit", field=_FIELD
        ) from error
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


def _takes_context(function: object) -> bool:
    """Return whether a function has a second positional argument that is required or called `context`."""
    try:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # not callable, or a built-in without a signature; `get_function` reports it
        return False
    positional = [one for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]
    return len(positional) > 1 and (positional[1].name == _CONTEXT or positional[1].default is inspect.Parameter.empty)


def _info(module: ModuleType) -> SpaceInfo | None:
    info = getattr(module, "INFO", None)
    if info is None or isinstance(info, SpaceInfo):
        return info
    raise SpaceError(
        f"{module.__file__}: INFO is {info!r:.80}; make it a nas_distill.records.SpaceInfo, or remove it",
        code="space.wrong_info",
        field=_FIELD,
    )


@cache
def _shipped() -> Mapping[str, ModuleType]:
    """Return the modules of the shipped spaces by the name of the space."""
    found = pkgutil.walk_packages(search_spaces.__path__, f"{search_spaces.__name__}.")
    modules = (importlib.import_module(one.name) for one in found)
    return {module.__name__.rpartition(".")[2]: module for module in modules if hasattr(module, DEFAULT_FUNCTION)}
