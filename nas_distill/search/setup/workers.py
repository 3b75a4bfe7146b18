"""Plans what workers on the cluster need: shared inputs, and resources per training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig, ResourcesConfig, SpaceConfig
from nas_distill.records import Recipe
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import has_gpus
from nas_distill.search.backend.gpu_packing import choose_gpus_per_trial
from nas_distill.search.backend.shard_pool import RayShardPool
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.setup.prepare import Prepared
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import WorkerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """What the workers of a search get.

    Attributes:
        config: Where workers find what trials share.
        resources: Resources of one training; `gpus_per_trial` is a number.
    """

    config: WorkerConfig
    resources: ResourcesConfig


PlanWorkers = Callable[[], WorkerSetup]
"""Function that plans the workers when the first training needs them."""


def plan_workers(
    run: RunDirectory,
    prepared: Prepared,
    *,
    data: DataConfig,
    space: SpaceConfig,
    recipe: Recipe,
    resources: ResourcesConfig,
    seed: int,
    user_modules: tuple[str, ...],
    progress: Progress,
) -> WorkerSetup:
    """Return what the workers of a search get.

    On a cluster with GPUs and `gpus_per_trial="auto"` this measures the memory of candidates, which takes a while: call
    it once, when a training needs it.

    Args:
        run: The run directory, on a path that all nodes share.
        prepared: Data, teacher and knowledge.
        data: Section `data` of the configuration.
        space: Section `space` of the configuration.
        recipe: The configuration's recipe.
        resources: Section `resources` of the configuration.
        seed: Seed of the candidates to measure.
        user_modules: Modules and files that every worker imports first.
        progress: Receives events.

    Raises:
        SpaceError: The space cannot be loaded or raised an exception.
        ClusterError: The measurement failed.
    """
    config = WorkerConfig(
        run=str(run.path),
        data=data,
        knowledge=prepared.knowledge,
        threads=max(1, int(resources.cpus_per_trial)),
        cuda=False,
        execution=resources.execution,
        checkpoint_interval_s=resources.checkpoint_interval_s,
        user_modules=user_modules,
    )
    gpus = choose_gpus_per_trial(
        resources,
        config,
        space=load_space(space.name),
        shape=prepared.manifest.network_shape,
        limits=make_limits(space, prepared.teacher.cost),
        recipe=recipe,
        seed=seed,
        progress=progress,
    )
    return WorkerSetup(
        config=config.model_copy(update={"cuda": gpus > 0}),
        resources=resources.model_copy(update={"gpus_per_trial": gpus}),
    )


def make_shard_pool(
    run: RunDirectory,
    data: DataConfig,
    resources: ResourcesConfig,
    *,
    user_modules: tuple[str, ...],
    assistant: int | None = None,
) -> RayShardPool:
    """Return a pool of workers that share the computation of a network's outputs on the connected cluster.

    Args:
        run: The run directory, on a path that all nodes share.
        data: Section `data` of the configuration.
        resources: Section `resources` of the configuration.
        user_modules: Modules and files that every worker imports first.
        assistant: Trial number of the assistant whose student is the network; None for the teacher.
    """
    gpus = resources.gpus_per_trial
    if gpus == "auto":
        gpus = 1.0 if has_gpus() else 0.0
    return RayShardPool(
        run.path,
        data,
        cpus=resources.cpus_per_trial,
        gpus=gpus,
        assistant=assistant,
        user_modules=user_modules,
    )
