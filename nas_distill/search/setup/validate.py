"""What can be found out about a search before anything is computed."""

from __future__ import annotations

from pathlib import Path

from nas_distill.config import FIXED_RECIPE, LOCAL_DIR, RUN, SearchConfig, TeacherConfig
from nas_distill.data.sources import open_source
from nas_distill.errors import ConfigError, SpaceError
from nas_distill.losses.registry import resolve_losses, uses_teacher_head
from nas_distill.models.run_student import load_run_student
from nas_distill.models.teacher import load_teacher
from nas_distill.models.weights import check_name, load_local_dir, two_weight_sources
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe
from nas_distill.search.early_stopping.curves import make_stopping
from nas_distill.search.setup.prepare import check_served
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.spaces.recipes import load_recipe_space
from nas_distill.train.optimisation import check_optimizer


def check_search(config: SearchConfig) -> None:
    """Finds out of a configuration alone whether its search could begin.

    Raises:
        NasDistillError: It could not.
    """
    check_served(config)
    check_assistants(config)
    check_folds(config)
    make_stopping(config.asha, epochs=config.recipe.epochs, objectives=check_objectives(config.objectives))
    check_optimizer(config.recipe.optimizer)
    check_optimizer(config.teacher.recipe.optimizer)
    try:
        load_space(config.space.name)
    except SpaceError as error:  # which knows no configuration
        raise SpaceError(f"space.name (--space): {error}") from error
    load_recipe_space(config.space.recipe)


def check_assistants(config: SearchConfig) -> None:
    """Checks that an assistant could teach students of the configuration.

    Raises:
        ConfigError: Every recipe asks no teacher, or has its students answer through the teacher's classifier.
    """
    if config.assistants.count == 0 or config.space.recipe != FIXED_RECIPE or can_learn(config.recipe):
        return
    losses = ", ".join(loss.name for loss in resolve_losses(config.recipe))
    reason = (
        f"with {losses} a student answers through the teacher's own classifier, which no assistant has"
        if losses
        else "recipe.losses has none with a weight above 0, so that no student asks a teacher"
    )
    raise ConfigError(f"assistants.count: {reason}; leave --assistants out, or distil by another loss")


def can_learn(recipe: Recipe) -> bool:
    """Whether an assistant can teach by this recipe."""
    return bool(resolve_losses(recipe)) and not uses_teacher_head(recipe)


def check_folds(config: SearchConfig) -> None:
    """Checks that students of the configuration can be scored by its folds.

    Raises:
        ConfigError: Every recipe mixes images, which brings those of a fold into the training.
    """
    mix, others = config.recipe.mix, config.views.mixes
    if config.space.recipe == FIXED_RECIPE:
        others = ()
    if config.picks.folds and "none" not in (mix, *others):
        searched = f", and views.mixes holds {', '.join(others)}" if others else ""
        raise ConfigError(
            f"picks.folds: recipe.mix is {mix}{searched}, which mixes images of the fold that is left out into those "
            "that are trained on; leave --folds out, or set recipe.mix=none"
        )


def check_inputs(config: SearchConfig) -> None:
    """Finds out whether images and teacher are there: no image is decoded, no question asked.

    A data set of timm's is loaded, or fetched, by being opened: only whether there is a folder to look in is looked at.

    Raises:
        DataError, TeacherError, RunError: They are not.
    """
    kind, root = config.data.source.lower().partition("/")[0], config.data.root
    is_there = root is not None and (config.data.download or Path(root).is_dir())
    if kind != "hfds" and not (kind == "torch" and is_there):
        open_source(config.data)
    if config.teacher.model is not None:
        _check_teacher(config.teacher, config.teacher.model)


def _check_teacher(settings: TeacherConfig, model: str) -> None:
    """Finds out whether a teacher can be loaded; whether it suits the images is found out with them."""
    if model.startswith((LOCAL_DIR, RUN)) and (settings.checkpoint is not None or settings.arguments):
        raise two_weight_sources(model)
    if model.startswith(LOCAL_DIR):
        load_local_dir(Path(model.removeprefix(LOCAL_DIR)), trust_pickle=settings.trust_pickle)
    elif model.startswith(RUN):
        load_run_student(model, image_size=settings.image_size)
    elif settings.checkpoint is None or not Path(settings.checkpoint).is_file():
        # Refused for its name or its weights; classes and channels, which are not known yet, are never looked at.
        load_teacher(model, class_names=(), channels=1, checkpoint=settings.checkpoint)
    else:
        check_name(model)
