"""What trainings need on the cluster: a place where they find what they share, and what each may take."""

from __future__ import annotations

from collections.abc import Callable

from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig, SearchConfig
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import has_gpus
from nas_distill.search.backend.gpu_packing import choose_gpus_per_trial
from nas_distill.search.backend.shard_pool import RayShardPool
from nas_distill.search.proposal.costs import InputShape
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.setup.prepare import Prepared
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import WorkerConfig

Equip = Callable[[], tuple[WorkerConfig, ResourcesConfig]]
"""Returns where workers find what trials share, and what a training takes, its GPUs as a number."""


def equip(
    run: RunDirectory, config: SearchConfig, prepared: Prepared, progress: Progress
) -> tuple[WorkerConfig, ResourcesConfig]:
    """Returns where workers find what trials share, and what a training takes, its GPUs as a number.

    On a cluster with GPUs it measures what candidates need, which takes a while: call it once, and when it is needed.

    Raises:
        NasDistillError: No candidate fits on a GPU, or the workers that measure die.
    """
    worker_config = WorkerConfig(
        run=str(run.path),
        data=config.data,
        knowledge=prepared.knowledge,
        threads=max(1, int(config.resources.cpus_per_trial)),
        cuda=False,
        execution=config.resources.execution,
        checkpoint_interval_s=config.resources.checkpoint_interval_s,
    )
    gpus = choose_gpus_per_trial(
        config.resources,
        worker_config,
        space=load_space(config.space.name),
        shape=input_shape(prepared),
        limits=make_limits(config.space, prepared.teacher.cost),
        recipe=config.recipe,
        seed=config.seed,
        progress=progress,
    )
    resources = config.resources.model_copy(update={"gpus_per_trial": gpus})
    return worker_config.model_copy(update={"cuda": gpus > 0}), resources


def input_shape(prepared: Prepared) -> InputShape:
    """Returns what students take and give."""
    manifest = prepared.manifest
    return InputShape(num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size)


def shard_pool(run: RunDirectory, config: SearchConfig, assistant: int | None = None) -> RayShardPool:
    """Returns workers on the connected cluster that share the asking of the teacher, or of an assistant.

    Args:
        run: The run directory.
        config: What the workers take.
        assistant: Number of the trial whose student is asked; None for the teacher.
    """
    resources = config.resources
    gpus = resources.gpus_per_trial
    if gpus == "auto":
        gpus = 1.0 if has_gpus() else 0.0
    return RayShardPool(
        run.path,
        config.data,
        cpus=resources.cpus_per_trial,
        gpus=gpus,
        assistant=assistant,
        space_name=config.space.name,
    )
