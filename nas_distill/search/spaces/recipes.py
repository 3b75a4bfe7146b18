"""Loads recipe spaces: the configuration's fixed recipe, the shipped recipe space, or a user's own file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from nas_distill.config import FIXED_RECIPE, SEARCHED_RECIPE, TeacherConfig
from nas_distill.errors import ConfigError, SpaceError, StudyError, nearest_names, one_line
from nas_distill.losses.registry import LOSSES, LossEntry, Need, required_outputs, resolve_losses
from nas_distill.records.recipe import Adaptation, Recipe, RecipeChoices
from nas_distill.records.space_context import SpaceTrial
from nas_distill.train.optimisation import check_optimizer
from nas_distill.train.release import LEAST_IMAGES
from nas_distill.user_code import get_function, import_file, locate_error, split_reference

_DEFAULT_FUNCTION = "recipe"
_PARAMETERS = ("trial", "base", "choices")
_FIELD = "space.recipe"

_SAME_FOR_ALL = ("epochs", "batch_size")
"""Recipe fields that are equal in all trials of a search.

Students are compared at equal epochs, the teacher's outputs are stored for that many epochs, and the number of trials
per GPU was measured at that batch size.
"""


def make_choices(
    recipe: Recipe,
    teacher: TeacherConfig,
    *,
    mixes: Sequence[str] = (),
    folds: int = 0,
    images_per_class: float = math.inf,
) -> RecipeChoices:
    """Return the options that a recipe space may choose from in a search.

    Losses of logits are always available; losses of embeddings if embeddings are stored or the teacher runs online;
    losses of feature maps if the teacher runs online. A loss whose students use the teacher's classifier is never
    available, because it changes the candidate's network.

    Args:
        recipe: The configuration's recipe.
        teacher: The configuration's teacher.
        mixes: Image mixings beside `recipe.mix` (`views.mixes`).
        folds: Number of folds on which picks are cross-validated (`picks.folds`), 0 for none.
        images_per_class: Mean number of training images per class.

    Raises:
        ConfigError: `recipe` names an unknown loss or parameter.
    """
    available = {Need.LOGITS, Need.LABELS, Need.LEARNING}
    if teacher.online:
        available |= {Need.EMBEDDING, Need.FEATURES}
    elif stores_embeddings(recipe, teacher):
        available.add(Need.EMBEDDING)
    entries = [LOSSES.get(name) for name in LOSSES.names()]
    chosen = [entry for entry in entries if entry.needs <= available and not entry.uses_teacher_head]
    held_out = Adaptation().release_holdout * images_per_class * (1.0 - 1.0 / folds if folds else 1.0)
    return RecipeChoices(
        losses=tuple(entry.name for entry in chosen),
        mixes=tuple(sorted({recipe.mix, *mixes})),
        weights=MappingProxyType({entry.name: entry.defaults["weight"] for entry in chosen}),
        label_weights=MappingProxyType({entry.name: entry.label_weight for entry in chosen}),
        releases=held_out >= LEAST_IMAGES,
    )


def stores_embeddings(recipe: Recipe, teacher: TeacherConfig) -> bool:
    """Return whether the teacher's embeddings are stored: on request, or because the recipe's losses compare them.

    Raises:
        ConfigError: The recipe names an unknown loss or parameter.
    """
    return not teacher.online and (teacher.embeddings or required_outputs(recipe).embedding)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpace:
    """A define-by-run space of recipes.

    Attributes:
        name: Name as the user wrote it.
        function: Function that receives a trial, the configuration's recipe and the available choices, and returns a
            recipe.
        source_path: File that defines the space; empty for "fixed".
        fields: Names of the `Recipe` fields that the space sets regardless of the configuration (`CHOSEN` in its
            file); empty if unknown.
    """

    name: str
    function: Callable[[SpaceTrial, Recipe, RecipeChoices], Recipe]
    source_path: Path
    fields: tuple[str, ...] = ()


def load_recipe_space(name: str) -> RecipeSpace:
    """Return the recipe space called `name`.

    Args:
        name: "fixed", "search", or `FILE.py[:function]`; the function defaults to `recipe`.

    Raises:
        SpaceError: The name or function does not exist, the file cannot be imported, or the function cannot be called
            with a trial, a recipe and `RecipeChoices`.
    """
    if name == FIXED_RECIPE:
        return RecipeSpace(name=name, function=_return_base, source_path=Path())
    if name == SEARCHED_RECIPE:
        import search_spaces.recipes as shipped

        return RecipeSpace(
            name=name, function=shipped.recipe, source_path=Path(shipped.__file__), fields=shipped.CHOSEN
        )
    reference = split_reference(name)
    if reference is None:
        known = (FIXED_RECIPE, SEARCHED_RECIPE)
        raise SpaceError(
            f"'{name}' is not a recipe space; {nearest_names(name, known)}; give your own as FILE.py[:function]",
            code="space.unknown",
            field=_FIELD,
        )
    path, function_name = reference
    function = get_function(
        import_file(path, field=_FIELD), function_name or _DEFAULT_FUNCTION, parameters=_PARAMETERS, field=_FIELD
    )
    return RecipeSpace(name=name, function=function, source_path=path.resolve())


def propose_recipe(space: RecipeSpace, trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> Recipe:
    """Return the recipe that a recipe space builds from a trial's suggestions.

    Args:
        space: Recipe space to call.
        trial: Trial that suggests the parameters.
        base: The configuration's recipe.
        choices: Options that are available in this search.

    Raises:
        SpaceError: The space raised an exception, did not return a `Recipe`, changed `epochs` or `batch_size`, or
            returned a recipe with an option that is unknown or not available in this search.
        StudyError: The sampler or the storage of the study failed while the trial suggested a parameter.
    """
    try:
        recipe = space.function(trial, base, choices)
    except StudyError:
        raise
    except Exception as error:
        raise SpaceError(
            f"{locate_error(error, space.source_path)}: recipe space '{space.name}' raised {one_line(error)}; fix the "
            "space",
            code="space.raised",
            field=_FIELD,
        ) from error
    if not isinstance(recipe, Recipe):
        raise SpaceError(
            f"{space.source_path}: recipe space '{space.name}' returned {recipe!r:.80} ({type(recipe).__name__}); "
            "return a nas_distill.records.Recipe",
            code="space.wrong_type",
            field=_FIELD,
        )
    try:
        _check_same_for_all(recipe, base)
        check_optimizer(recipe.optimizer)
        _check_available(recipe, base, choices)
    except ConfigError as error:
        raise SpaceError(
            f"{space.source_path}: recipe space '{space.name}' returned an invalid recipe: {error}",
            code=error.code,
            field=_FIELD,
        ) from error
    return recipe


def _check_same_for_all(recipe: Recipe, base: Recipe) -> None:
    for name in _SAME_FOR_ALL:
        if getattr(recipe, name) != getattr(base, name):
            raise ConfigError(
                f"{getattr(recipe, name)} differs from the configuration's {getattr(base, name)}, which all trials of "
                f"a search share; return base.{name}",
                code="space.recipe_fixed_field",
                field=f"recipe.{name}",
            )


def _check_available(recipe: Recipe, base: Recipe, choices: RecipeChoices) -> None:
    """Check that a recipe uses only losses and image mixings that are available in this search.

    Raises:
        ConfigError: It uses another one, or an unknown loss or loss parameter.
    """
    # The losses of the configuration's own recipe were checked before the first trial, and are always available.
    own = {loss.name for loss in resolve_losses(base)}
    for loss in resolve_losses(recipe):
        if loss.name not in (*choices.losses, *own):
            raise ConfigError(
                f"{_explain_unavailable(loss.entry)}, or use one of choices.losses",
                code="space.loss_unavailable",
                field=f"recipe.losses.{loss.name}",
            )
    if recipe.mix not in choices.mixes:
        raise ConfigError(
            f"no teacher outputs are prepared for images mixed by '{recipe.mix}'; add it to views.mixes, or use one of "
            f"choices.mixes ({', '.join(choices.mixes)})",
            code="space.mix_unavailable",
            field="recipe.mix",
        )


def _explain_unavailable(entry: LossEntry) -> str:
    if entry.uses_teacher_head:
        return (
            "its students use the teacher's classifier, which a recipe space cannot choose; set the loss in "
            f"recipe.losses with space.recipe={FIXED_RECIPE}"
        )
    if Need.FEATURES in entry.needs:
        return "it compares feature maps, which are not stored; set teacher.online=true (--online-teacher)"
    return "it compares embeddings, which are not stored; set teacher.embeddings=true or teacher.online=true"


def _return_base(trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> Recipe:
    del trial, choices
    return base
