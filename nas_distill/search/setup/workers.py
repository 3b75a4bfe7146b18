"""Plans what workers on the cluster need: shared inputs, and resources per training."""

from __future__ import annotations

from dataclasses import replace

from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig, ResourcesConfig, SpaceConfig
from nas_distill.records import Recipe
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.gpu_packing import choose_gpus_per_trial, largest_candidates
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.setup.prepare import Prepared
from nas_distill.search.setup.space_context import setup_space
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import WorkerConfig

_SAMPLED_CANDIDATES = 64
"""Number of random candidates; the largest of them are measured on a GPU."""


def plan_workers(
    run: RunDirectory,
    prepared: Prepared,
    *,
    data: DataConfig,
    space: SpaceConfig,
    user_modules: tuple[str, ...],
    recipe: Recipe,
    resources: ResourcesConfig,
    seed: int,
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
        user_modules: Modules and files that every worker imports first.
        recipe: The configuration's recipe.
        resources: Section `resources` of the configuration.
        seed: Seed of the candidates to measure.
        progress: Receives events.

    Raises:
        SpaceError: The space cannot be loaded or raised an exception.
        ClusterError: The measurement failed.
    """
    setup = WorkerSetup(
        config=WorkerConfig(
            run=str(run.path),
            data=data,
            knowledge=prepared.knowledge,
            threads=max(1, int(resources.cpus_per_trial)),
            cuda=False,
            execution=resources.execution,
            checkpoint_interval_s=resources.checkpoint_interval_s,
            user_modules=user_modules,
            pretrained_root=space.pretrained_root,
        ),
        resources=resources,
    )

    def candidates() -> list[TrialTask]:
        shape = prepared.manifest.network_shape
        demands = setup_space(run, space, shape)
        specs = sample_space(load_space(space.resolved_name), _SAMPLED_CANDIDATES, seed, demands.context)
        return largest_candidates(specs, shape, demands.limits, recipe)

    gpus = choose_gpus_per_trial(setup, candidates, progress)
    return replace(
        setup,
        config=setup.config.model_copy(update={"cuda": gpus > 0}),
        resources=resources.model_copy(update={"gpus_per_trial": gpus}),
    )
