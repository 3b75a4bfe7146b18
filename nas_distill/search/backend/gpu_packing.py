"""How many trials share a GPU: measures the memory that a trial needs, and divides the GPU's memory by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import ray
from ray.exceptions import GetTimeoutError, RayError

from nas_distill.callbacks import Progress
from nas_distill.errors import ClusterError, ConfigError, SpaceError, TeacherError, TrialError, last_line
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.task import TrialTask
from nas_distill.search.backend.cluster import has_gpus
from nas_distill.search.backend.ray_private import RESOURCE_PRECISION
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.proposal.limits import Limits
from nas_distill.trial.run import MemoryProfile, profile_memory

_MEASURED_CANDIDATES = 3
_MAX_TRIALS_PER_GPU = 8
_MEMORY_MARGIN = 1.25
_TIMEOUT_S = 600.0
_PROCESS_BYTES = 700 * 2**20
"""Memory of a process on a GPU before its first tensor: CUDA's context and its libraries' handles."""

_FIELD = "resources.gpus_per_trial"


def trials_per_gpu(profile: MemoryProfile, *, cpus_per_gpu: float, cpus_per_trial: float) -> int:
    """Return how many trials should share a GPU: what memory and CPUs allow, 1 to 8.

    More than 8 trials no longer raise a GPU's utilisation, and each further process costs memory.

    Args:
        profile: Memory of the largest measured trial, and of the GPU.
        cpus_per_gpu: CPUs of a node per GPU.
        cpus_per_trial: CPUs that one trial takes.
    """
    by_memory = profile.gpu_bytes / (_MEMORY_MARGIN * profile.peak_bytes + _PROCESS_BYTES)
    return max(1, min(_MAX_TRIALS_PER_GPU, math.floor(by_memory), math.floor(cpus_per_gpu / cpus_per_trial)))


def share_of_gpu(trials: int) -> float:
    """Return the fraction of a GPU per trial, rounded down to Ray's precision, when `trials` share one."""
    return math.floor(RESOURCE_PRECISION / trials) / RESOURCE_PRECISION


def largest_candidates(
    specs: Iterable[StudentSpec],
    shape: NetworkShape,
    limits: Limits,
    recipe: Recipe,
    *,
    count: int = 2 * _MEASURED_CANDIDATES,
) -> list[TrialTask]:
    """Return the `count` candidates with the most multiply-accumulates within the limits, as tasks.

    Activations fill a GPU in training, and they grow with the multiply-accumulates; the batch size is the same for all.
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
    setup: WorkerSetup, candidates: Callable[[], Sequence[TrialTask]], progress: Progress
) -> float:
    """Return `resources.gpus_per_trial` or, where it is "auto", the number that suits the connected cluster.

    A cluster without GPUs trains on CPUs. With GPUs, the largest candidates train a few steps on one of them, in a
    process of their own. The search's trials cannot need much more memory, and one that does continues with smaller
    batches.

    Args:
        setup: What workers get; `gpus_per_trial` may be "auto".
        candidates: Returns the candidates to measure, the largest first; called only when a GPU is measured.
        progress: Watcher of the work.

    Raises:
        ClusterError: The memory could not be measured.
        SpaceError: The space raised an error.
    """
    resources = setup.resources
    if resources.gpus_per_trial != "auto":
        return resources.gpus_per_trial
    if not has_gpus():
        return 0.0
    tasks = candidates()
    if not tasks:
        return 1.0  # the proposer will report what is wrong
    progress.event("packing", "measuring how much GPU memory a trial needs")
    profile = _measure_on_gpu(tasks, setup)
    if profile is None:
        return 1.0  # none of them can be trained: the search will report why
    gpu_nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    cpus_per_gpu = min(node.get("CPU", 0.0) / node["GPU"] for node in gpu_nodes)
    trials = trials_per_gpu(profile, cpus_per_gpu=cpus_per_gpu, cpus_per_trial=resources.cpus_per_trial)
    progress.event(
        "packing",
        f"{trials} trials per GPU: the largest measured candidate takes {profile.peak_bytes / 2**20:,.0f} MiB of "
        f"{profile.gpu_bytes / 2**20:,.0f} MiB",
    )
    return share_of_gpu(trials)


def _measure_on_gpu(tasks: Sequence[TrialTask], setup: WorkerSetup) -> MemoryProfile | None:
    remote = ray.remote(num_gpus=1, num_cpus=1, max_calls=1)(_profile_largest)
    try:
        profile: MemoryProfile | None = ray.get(remote.remote(tasks, setup), timeout=_TIMEOUT_S)
    except GetTimeoutError as error:
        raise ClusterError(
            f"the memory of a trial was not measured within {_TIMEOUT_S:.0f} s (is a whole GPU free?); free a GPU, or "
            "set --gpus-per-trial to a number",
            code="cluster.memory_not_measured",
            field=_FIELD,
        ) from error
    except RayError as error:
        raise ClusterError(
            f"the memory of a trial could not be measured on a GPU: {last_line(error)}; set --gpus-per-trial to a "
            "number",
            code="cluster.memory_not_measured",
            field=_FIELD,
        ) from error
    return profile


def _profile_largest(tasks: Sequence[TrialTask], setup: WorkerSetup) -> MemoryProfile | None:
    context = setup.open_context(cuda=True)
    profiles = []
    for task in tasks:
        with suppress(SpaceError, ConfigError, TeacherError, TrialError):  # a candidate that cannot be trained
            profiles.append(profile_memory(task, context))
        if len(profiles) == _MEASURED_CANDIDATES:
            break
    if not profiles:
        return None
    return MemoryProfile(
        peak_bytes=max(profile.peak_bytes for profile in profiles),
        gpu_bytes=min(profile.gpu_bytes for profile in profiles),
    )
