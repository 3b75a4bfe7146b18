"""Where a trial's recipe comes from: the one of the configuration, the shipped recipe space, or the user's own."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from nas_distill.config import FIXED_RECIPE, SEARCHED_RECIPE, SearchConfig
from nas_distill.errors import ConfigError, SpaceError, StudyError, nearest_names, one_line
from nas_distill.losses.registry import LOSSES, LossEntry, Need, required_outputs, resolve_losses
from nas_distill.records.recipe import Adaptation, Recipe, RecipeChoices
from nas_distill.records.space_trial import SpaceTrial
from nas_distill.search.user_code import import_file, where
from nas_distill.train.optimisation import check_optimizer
from nas_distill.train.release import LEAST_IMAGES

_FUNCTION = "recipe"
_SAME_FOR_ALL = ("epochs", "batch_size")
"""Students are compared at the same fidelity, the teacher's answers are stored for so many epochs, and how many trials
share a GPU was measured at this batch size."""


def make_choices(config: SearchConfig, *, images_per_class: float = math.inf) -> RecipeChoices:
    """Returns what recipes may choose in a search.

    Losses of logits always; of embeddings when they are stored or the teacher is online; of feature maps when it is
    online. A loss whose student answers through the teacher's classifier is never among them: it makes another network
    of the candidate.

    Args:
        config: The search's.
        images_per_class: Training images of a class, on average.

    Raises:
        ConfigError: The configuration's own recipe names an unknown loss or parameter.
    """
    served = {Need.LOGITS, Need.LABELS, Need.LEARNING}
    if config.teacher.online:
        served |= {Need.EMBEDDING, Need.FEATURES}
    elif stores_embeddings(config):
        served.add(Need.EMBEDDING)
    entries = [LOSSES.get(name) for name in LOSSES.names()]
    chosen = [entry for entry in entries if entry.needs <= served and not entry.uses_teacher_head]
    folds = config.picks.folds
    held_out = Adaptation().release_holdout * images_per_class * (1.0 - 1.0 / folds if folds else 1.0)
    return RecipeChoices(
        losses=tuple(entry.name for entry in chosen),
        mixes=tuple(sorted({config.recipe.mix, *config.views.mixes})),
        weights=MappingProxyType({entry.name: entry.defaults["weight"] for entry in chosen}),
        label_weights=MappingProxyType({entry.name: entry.label_weight for entry in chosen}),
        releases=held_out >= LEAST_IMAGES,
    )


def stores_embeddings(config: SearchConfig) -> bool:
    """Whether the teacher's embeddings are stored: because they were asked for, or because the recipe compares them.

    Raises:
        ConfigError: The recipe names an unknown loss or parameter.
    """
    return not config.teacher.online and (config.teacher.embeddings or required_outputs(config.recipe).embedding)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpace:
    """A define-by-run space of recipes.

    Attributes:
        name: As the user wrote it.
        function: Asks the trial for choices and returns a recipe, made of the configuration's; told what can be served.
        source_path: The file it was loaded from.
        fields: Names of the `Recipe` fields that the space chooses, whatever the configuration says: the `CHOSEN`
            tuple of its file.
    """

    name: str
    function: Callable[[SpaceTrial, Recipe, RecipeChoices], Recipe]
    source_path: Path
    fields: tuple[str, ...] = ()


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

        return RecipeSpace(
            name=name, function=shipped.recipe, source_path=Path(shipped.__file__), fields=shipped.CHOSEN
        )
    own = re.fullmatch(r"(?P<file>.+\.py)(?::(?P<function>\w+))?", name)
    if own is None:
        known = (FIXED_RECIPE, SEARCHED_RECIPE)
        raise SpaceError(
            f"space.recipe: '{name}' is neither {FIXED_RECIPE} nor {SEARCHED_RECIPE}; {nearest_names(name, known)}, or "
            "FILE.py[:function]"
        )
    path, wanted = Path(own["file"]), own["function"] or _FUNCTION
    function = getattr(import_file(path), wanted, None)
    if not callable(function):
        raise SpaceError(f"{path}: has no function '{wanted}'; write `def {wanted}(trial, base, choices)`")
    try:
        inspect.signature(function).bind(None, None, None)
    except (TypeError, ValueError):
        raise SpaceError(
            f"{path}: '{wanted}' cannot be called with a trial, a recipe and what this search can serve; write "
            f"`def {wanted}(trial, base, choices)`"
        ) from None
    return RecipeSpace(name=name, function=function, source_path=path.resolve())


def propose_recipe(space: RecipeSpace, trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> Recipe:
    """Returns the recipe that `space` builds from what `trial` chooses.

    Args:
        space: Where recipes come from.
        trial: Asked by it.
        base: The configuration's recipe.
        choices: What this search can serve.

    Raises:
        SpaceError: The space raised, returned something else than a `Recipe`, or one that cannot be trained by, or not
            in this search.
        StudyError: The sampler or the study's storage failed while the trial was asked.
    """
    try:
        recipe = space.function(trial, base, choices)
    except StudyError:
        raise
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
        check_optimizer(recipe.optimizer)
        _check_served(recipe, base, choices)
    except ConfigError as error:
        raise SpaceError(f"{space.source_path}: recipe space '{space.name}' proposed {error}") from error
    return recipe


def _check_served(recipe: Recipe, base: Recipe, choices: RecipeChoices) -> None:
    """Checks that a recipe takes nothing but what this search can serve.

    Raises:
        ConfigError: It takes more.
    """
    # What the configuration's own recipe takes was checked, and is served, before the first trial.
    own = {loss.name for loss in resolve_losses(base)}
    for loss in resolve_losses(recipe):
        if loss.name not in (*choices.losses, *own):
            raise ConfigError(f"recipe.losses.{loss.name}: {_way_out(loss.entry)}, or choose among choices.losses")
    if recipe.mix not in choices.mixes:
        raise ConfigError(
            f"recipe.mix: {recipe.mix}, and the teacher is not asked about such images; add it to views.mixes, or "
            f"choose among choices.mixes ({', '.join(choices.mixes)})"
        )


def _way_out(entry: LossEntry) -> str:
    if entry.uses_teacher_head:
        return (
            "its student answers through the teacher's classifier, which trials of a searched recipe do not; set it in "
            f"recipe.losses with space.recipe={FIXED_RECIPE}"
        )
    if Need.FEATURES in entry.needs:
        return "it compares feature maps, which are not stored; set teacher.online=true (--online-teacher)"
    return "it compares embeddings, which are not stored; set teacher.embeddings=true, or teacher.online=true"


def _fixed(trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> Recipe:
    del trial, choices
    return base
