"""How many trials share a GPU: the memory that a candidate of the space needs, measured, against what the GPU has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress

import ray
from pydantic import PositiveInt

from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, ConfigError, SpaceError, TeacherError, TrialError
from nas_distill.models.cost import measure_cost
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.base import Record
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.task import TrialTask
from nas_distill.search.backend.cluster import has_gpus
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import Space, load_space
from nas_distill.trial.context import WorkerConfig, open_context
from nas_distill.trial.run import profile_memory

_DRAWN = 64
_REHEARSED = 3
_MOST_PER_GPU = 8
_MARGIN = 1.25
_PATIENCE_S = 600.0
_PROCESS_BYTES = 700 * 2**20
"""What a process holds on a GPU before its first tensor: CUDA's context and its libraries' handles."""

_RAY_PRECISION = 10_000
"""Ray counts resources in ten thousandths."""


class MemoryProfile(Record):
    """What the rehearsal found.

    Attributes:
        peak_bytes: Most memory that a rehearsed trial reserved on the GPU, its share of the data included.
        gpu_bytes: The GPU's memory.
    """

    peak_bytes: PositiveInt
    gpu_bytes: PositiveInt


def trials_per_gpu(memory_profile: MemoryProfile, *, cpus_per_gpu: float, cpus_per_trial: float) -> int:
    """Returns how many trials should share a GPU: what memory and CPU slots allow, 1 to 8.

    Beyond 8 a GPU has long been busy, and each further process only costs memory.
    """
    by_memory = memory_profile.gpu_bytes / (_MARGIN * memory_profile.peak_bytes + _PROCESS_BYTES)
    return max(1, min(_MOST_PER_GPU, math.floor(by_memory), math.floor(cpus_per_gpu / cpus_per_trial)))


def share_of_gpu(trials: int) -> float:
    """Returns the fraction of a GPU, as Ray counts, of which `trials` fit on one."""
    return math.floor(_RAY_PRECISION / trials) / _RAY_PRECISION


def largest(
    specs: Iterable[StudentSpec], shape: NetworkShape, limits: Limits, recipe: Recipe, *, count: int = 2 * _REHEARSED
) -> list[TrialTask]:
    """Returns the `count` candidates with the most multiply-accumulates within the limits, as assignments.

    Activations, which fill a GPU in training, grow with them; the batch size is the same for all.
    """
    found: dict[str, TrialTask] = {}
    for spec in specs:
        try:
            cost = measure_cost(
                spec, num_classes=shape.num_classes, channels=shape.channels, image_size=shape.image_size
            )
        except SpaceError:
            continue
        if limits.rejection(cost) is None:
            found[spec.spec_id] = TrialTask(number=0, seed=0, spec=spec, recipe=recipe, cost=cost)
    return sorted(found.values(), key=lambda task: -task.cost.macs)[:count]


def choose_gpus_per_trial(
    resources: ResourcesConfig,
    worker_config: WorkerConfig,
    *,
    space: Space,
    shape: NetworkShape,
    limits: Limits,
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> float:
    """Returns the GPUs per trial that `resources` says or, where it says "auto", those that suit the cluster.

    A cluster without GPUs trains on CPUs. With GPUs the hungriest of a sample of candidates train a few steps on one
    of them, in a process of their own; the search's own trials cannot need more by much, and one that does goes on
    with smaller batches.

    Raises:
        ClusterError: The rehearsal failed.
        SpaceError: The space raised.
    """
    if resources.gpus_per_trial != "auto":
        return resources.gpus_per_trial
    if not has_gpus():
        return 0.0
    gpu_nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    tasks = largest(sample_space(space, _DRAWN, seed), shape, limits, recipe)
    if not tasks:
        return 1.0  # the proposer will say what is wrong
    progress.event("packing", "measuring on a GPU how much memory a trial needs")
    memory_profile = _rehearsed(tasks, worker_config.model_copy(update={"cuda": True}), space.name)
    if memory_profile is None:
        return 1.0  # none of them can be trained: the search will say why
    cpus_per_gpu = min(node.get("CPU", 0.0) / node["GPU"] for node in gpu_nodes)
    trials = trials_per_gpu(memory_profile, cpus_per_gpu=cpus_per_gpu, cpus_per_trial=resources.cpus_per_trial)
    progress.event(
        "packing",
        f"{trials} trials per GPU: the largest of the rehearsed candidates takes "
        f"{memory_profile.peak_bytes / 2**20:,.0f} MiB of {memory_profile.gpu_bytes / 2**20:,.0f} MiB",
    )
    return share_of_gpu(trials)


def _rehearsed(tasks: Sequence[TrialTask], worker_config: WorkerConfig, space_name: str) -> MemoryProfile | None:
    remote = ray.remote(num_gpus=1, num_cpus=1, max_calls=1)(_profile_memory)
    try:
        memory_profile: MemoryProfile | None = ray.get(
            remote.remote(tasks, worker_config, space_name), timeout=_PATIENCE_S
        )
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterError(
            f"resources.gpus_per_trial: a trial's memory was not measured within {_PATIENCE_S:.0f} s (is a whole GPU "
            "free?); free one, or give --gpus-per-trial a number"
        ) from error
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ClusterError(
            f"resources.gpus_per_trial: the memory of a trial could not be measured on a GPU: {lines[-1]:.300}; give "
            "--gpus-per-trial a number"
        ) from error
    return memory_profile


def _profile_memory(tasks: Sequence[TrialTask], worker_config: WorkerConfig, space_name: str) -> MemoryProfile | None:
    if space_name.partition(":")[0].endswith(".py"):
        load_space(space_name)
    context = open_context(worker_config)
    peaks = []
    for task in tasks:
        with suppress(
            SpaceError, ConfigError, TeacherError, TrialError
        ):  # a candidate that cannot be trained needs no room
            peaks.append(profile_memory(task, context))
        if len(peaks) == _REHEARSED:
            break
    if not peaks:
        return None
    return MemoryProfile(
        peak_bytes=max(peak.peak_bytes for peak in peaks), gpu_bytes=min(peak.device_bytes for peak in peaks)
    )
