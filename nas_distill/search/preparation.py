"""Prepare a search: data, teacher, knowledge and the source of latencies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, SearchConfig, TargetConfig
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.node_probe import check_nodes
from nas_distill.search.backend.remote_target import NodeSource
from nas_distill.search.backend.shard_pool import RayShardPool
from nas_distill.search.setup.prepare import Prepared, prepare
from nas_distill.search.setup.space_context import setup_space
from nas_distill.search.setup.target import open_target
from nas_distill.target.measurement import Source
from nas_distill.target.meter import open_source


def prepare_search(run: RunDirectory, config: SearchConfig, progress: Progress, *, on_cluster: bool = True) -> Prepared:
    """Prepare data, teacher and knowledge with the help of the cluster's workers, and open the source of latencies.

    Args:
        run: The run directory, locked.
        config: Configuration of the search.
        progress: Receives events.
        on_cluster: Whether this process is connected to a cluster. Without one, nothing can be trained afterwards.

    Raises:
        NasDistillError: The images, the teacher, the target, a node or the run directory cannot be used.
    """
    pool = None
    if on_cluster:
        check_nodes(run.path, config.resources, config.user_modules, progress)
        pool = RayShardPool(run, config.data, config.resources, user_modules=config.user_modules)
    prepared = prepare(
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
        pool=pool,
    )
    torch.cuda.empty_cache()  # trials on the same GPU need the memory that the driver's allocator keeps
    if not on_cluster:
        return prepared
    shape = prepared.manifest.network_shape
    target = open_target(
        run,
        config.target,
        space=config.space,
        objectives=config.objectives,
        teacher=prepared.teacher,
        described=setup_space(run, config.space, shape).context.teacher,
        shape=shape,
        open_at=partial(_open_source, config.user_modules),
        progress=progress,
    )
    return replace(prepared, teacher=target.teacher, meter=target.meter)


def _open_source(user_modules: tuple[str, ...], settings: TargetConfig) -> Source:
    return open_source(settings) if settings.ray_resource is None else NodeSource(settings, user_modules)
