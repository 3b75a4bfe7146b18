"""Prepare a run directory from a whole configuration, as the service does."""

from __future__ import annotations

from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, SearchConfig
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.prepare import Prepared, prepare


def prepare_run(run: RunDirectory, config: SearchConfig, progress: Progress) -> Prepared:
    """Return what `prepare` creates from the sections of a configuration, without a pool of workers."""
    return prepare(
        run,
        data=config.data,
        views=config.views,
        teacher=config.teacher,
        recipe=config.recipe,
        is_recipe_fixed=config.space.recipe == FIXED_RECIPE,
        folds=config.picks.folds,
        seed=config.seed,
        execution=config.resources.execution,
        progress=progress,
    )
