"""What can be found out about a search before anything is computed."""

from __future__ import annotations

from pathlib import Path

from nas_distill.config import LOCAL_DIR, RUN, SearchConfig, TeacherConfig
from nas_distill.data.sources import open_source
from nas_distill.errors import SpaceError, TeacherError
from nas_distill.models.loading import brings_its_own, check_name, load_local_dir
from nas_distill.models.run_student import load_run_student
from nas_distill.models.teacher import load_teacher
from nas_distill.objectives import check_objectives
from nas_distill.search.retrain.assistant_plan import check_assistants
from nas_distill.search.retrain.fold_plan import check_folds
from nas_distill.search.setup.prepare import check_served
from nas_distill.search.spaces.recipes import load_recipe_space
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.early_stopping.curves import make_stopping
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
        raise TeacherError(brings_its_own(model))
    if model.startswith(LOCAL_DIR):
        load_local_dir(Path(model.removeprefix(LOCAL_DIR)), trust_pickle=settings.trust_pickle)
    elif model.startswith(RUN):
        load_run_student(model, image_size=settings.image_size)
    elif settings.checkpoint is None or not Path(settings.checkpoint).is_file():
        # Refused for its name or its weights; classes and channels, which are not known yet, are never looked at.
        load_teacher(model, class_names=(), channels=1, checkpoint=settings.checkpoint)
    else:
        check_name(model)
