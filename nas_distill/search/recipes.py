"""Where a trial's recipe comes from: the one of the configuration, the shipped recipe space, or the user's own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas_distill.config import FIXED_RECIPE, SEARCHED_RECIPE
from nas_distill.errors import ConfigError, SpaceError, nearest_names
from nas_distill.losses.registry import DistillationLoss
from nas_distill.records import Recipe
from nas_distill.search.files import import_file, one_line, where
from nas_distill.train.optimisation import check_optimizer

if TYPE_CHECKING:
    from optuna import Trial

_FUNCTION = "recipe"
_SAME_FOR_ALL = ("epochs", "batch_size")
"""Students are compared at the same fidelity, the teacher's answers are stored for so many epochs, and how many trials
share a GPU was measured at this batch size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpace:
    """A define-by-run space of recipes.

    Attributes:
        name: As the user wrote it.
        function: Asks the trial for choices and returns a recipe, made of the configuration's.
        source_path: The file it was loaded from.
    """

    name: str
    function: Callable[[Trial, Recipe], Recipe]
    source_path: Path


def load_recipe_space(name: str) -> RecipeSpace:
    """Returns where recipes come from.

    Args:
        name: "fixed", "search", or `FILE.py[:function]` (the function is called `recipe` by default).

    Raises:
        SpaceError: There is no such file or function, or the file does not import.
    """
    if name == FIXED_RECIPE:
        return RecipeSpace(name=name, function=_fixed, source_path=Path())
    if name == SEARCHED_RECIPE:
        import search_spaces.recipes as shipped

        return RecipeSpace(name=name, function=shipped.recipe, source_path=Path(shipped.__file__))
    own = re.fullmatch(r"(?P<file>.+\.py)(?::(?P<function>\w+))?", name)
    if own is None:
        known = (FIXED_RECIPE, SEARCHED_RECIPE)
        raise SpaceError(f"space.recipe: '{name}' is none of them; {nearest_names(name, known)}, or FILE.py[:function]")
    path, wanted = Path(own["file"]), own["function"] or _FUNCTION
    function = getattr(import_file(path), wanted, None)
    if not callable(function):
        raise SpaceError(f"{path}: has no function '{wanted}'; write `def {wanted}(trial, base)`")
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):
        raise SpaceError(
            f"{path}: '{wanted}' cannot be called with a trial and a recipe; write `def {wanted}(trial, base)`"
        ) from None
    return RecipeSpace(name=name, function=function, source_path=path.resolve())


def propose_recipe(space: RecipeSpace, trial: Trial, base: Recipe) -> Recipe:
    """Returns the recipe that `space` builds from the choices of `trial`.

    Raises:
        SpaceError: The space raised, returned something else than a `Recipe`, or one that cannot be trained by.
    """
    try:
        recipe = space.function(trial, base)
    except Exception as error:
        raise SpaceError(
            f"{where(error, space.source_path)}: recipe space '{space.name}' raised {one_line(error)}"
        ) from error
    if not isinstance(recipe, Recipe):
        raise SpaceError(
            f"{space.source_path}: recipe space '{space.name}' returned {recipe!r:.80} ({type(recipe).__name__}); "
            "return a nas_distill.records.Recipe"
        )
    for field in _SAME_FOR_ALL:
        if getattr(recipe, field) != getattr(base, field):
            raise SpaceError(
                f"{space.source_path}: recipe space '{space.name}' set {field} to {getattr(recipe, field)}; it is "
                f"recipe.{field}={getattr(base, field)} for all trials of a search"
            )
    try:
        DistillationLoss(recipe)
        check_optimizer(recipe.optimizer)
    except ConfigError as error:
        raise SpaceError(f"{space.source_path}: recipe space '{space.name}' proposed {error}") from error
    return recipe


def _fixed(trial: Trial, base: Recipe) -> Recipe:
    del trial
    return base
