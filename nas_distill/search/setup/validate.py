"""Checks of the configuration before anything is computed. Each takes the sections that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas_distill.config import LOCAL_DIR, RUN, DataConfig, TeacherConfig
from nas_distill.data.sources import open_source
from nas_distill.errors import ConfigError
from nas_distill.losses.registry import resolve_losses, uses_teacher_head
from nas_distill.models.run_student import load_run_student
from nas_distill.models.teacher import load_teacher
from nas_distill.models.weights import check_name, load_local_dir, two_weight_sources
from nas_distill.records import Recipe


def check_losses(recipe: Recipe, teacher: TeacherConfig) -> None:
    """Check that every loss of the recipe compares outputs that the teacher stores or provides online.

    Raises:
        ConfigError: A loss or parameter is unknown, or a loss compares feature maps and the teacher is not online.
    """
    for loss in resolve_losses(recipe):
        if loss.depth is not None and not teacher.online:
            raise ConfigError(
                "it compares feature maps, which are not stored; set teacher.online=true (--online-teacher), or choose "
                "a loss of logits or embeddings",
                code="search.loss_needs_online_teacher",
                field=f"recipe.losses.{loss.name}",
            )


def check_assistants(count: int, recipe: Recipe, *, is_recipe_fixed: bool) -> None:
    """Check that assistants can teach students with the configuration's recipe.

    Args:
        count: Number of assistants (`assistants.count`).
        recipe: The configuration's recipe.
        is_recipe_fixed: Whether every trial uses `recipe`; a recipe space may propose others.

    Raises:
        ConfigError: No loss of the recipe uses a teacher, or its students use the teacher's own classifier.
    """
    if count == 0 or not is_recipe_fixed or can_assist(recipe):
        return
    losses = ", ".join(loss.name for loss in resolve_losses(recipe))
    reason = (
        f"students of {losses} use the teacher's own classifier, which an assistant does not have"
        if losses
        else "recipe.losses has no loss with a weight above 0, so that students learn from no teacher"
    )
    raise ConfigError(
        f"{reason}; leave --assistants out, or choose another loss",
        code="search.recipe_without_assistants",
        field="assistants.count",
    )


def can_assist(recipe: Recipe) -> bool:
    """Return whether an assistant can replace the teacher in this recipe."""
    return bool(resolve_losses(recipe)) and not uses_teacher_head(recipe)


def check_folds(folds: int, recipe: Recipe, mixes: Sequence[str], *, is_recipe_fixed: bool) -> None:
    """Check that some recipe of the search can be cross-validated.

    Args:
        folds: Number of folds (`picks.folds`), 0 for none.
        recipe: The configuration's recipe.
        mixes: Image mixings that searched recipes may choose besides the recipe's own (`views.mixes`).
        is_recipe_fixed: Whether every trial uses `recipe`, so that `mixes` do not matter.

    Raises:
        ConfigError: Every recipe mixes images, which brings images of a fold into the training on the others.
    """
    others = () if is_recipe_fixed else tuple(mixes)
    if folds and "none" not in (recipe.mix, *others):
        searched = f" and views.mixes is {', '.join(others)}" if others else ""
        raise ConfigError(
            f"recipe.mix is {recipe.mix}{searched}: mixing brings images of the held-out fold into the training; leave "
            "--folds out, or set recipe.mix=none",
            code="search.folds_with_mixing",
            field="picks.folds",
        )


def check_inputs(data: DataConfig, teacher: TeacherConfig) -> None:
    """Check that the images and the teacher exist. No image is decoded.

    timm's data sets are loaded or downloaded by opening them, so that for those only the folder is checked.

    Args:
        data: Section `data` of the configuration.
        teacher: Section `teacher` of the configuration.

    Raises:
        DataError: The images do not exist.
        TeacherError: The teacher does not exist or cannot be loaded.
        RunError: The teacher's run cannot be read.
    """
    kind, root = data.source.lower().partition("/")[0], data.root
    is_there = root is not None and (data.download or Path(root).is_dir())
    if kind != "hfds" and not (kind == "torch" and is_there):
        open_source(data)
    if teacher.model is not None:
        _check_teacher(teacher, teacher.model)


def _check_teacher(settings: TeacherConfig, model: str) -> None:
    """Check that a teacher can be loaded. Whether it matches the images is checked once they are prepared."""
    if model.startswith((LOCAL_DIR, RUN)) and (settings.checkpoint is not None or settings.arguments):
        raise two_weight_sources(model)
    if model.startswith(LOCAL_DIR):
        load_local_dir(Path(model.removeprefix(LOCAL_DIR)), trust_pickle=settings.trust_pickle)
    elif model.startswith(RUN):
        load_run_student(model, image_size=settings.image_size)
    elif settings.checkpoint is None or not Path(settings.checkpoint).is_file():
        # This raises for the name or the missing weights, before it compares the classes and channels given here.
        load_teacher(model, class_names=(), channels=1, checkpoint=settings.checkpoint)
    else:
        check_name(model)
