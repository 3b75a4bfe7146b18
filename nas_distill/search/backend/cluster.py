"""Starts or joins a Ray cluster, and leaves it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import ray
from ray.util import placement_group, remove_placement_group

from nas_distill.analysis.formatting import duration
from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, first_line
from nas_distill.search.backend.ray_private import (
    apply_gpu_visibility_settings,
    in_ray_job,
    keep_sigterm_handler,
    loopback_only,
)

_OBJECT_STORE_BYTES = 128 * 2**20
"""Workers read data and knowledge from memory-mapped files; next to nothing passes through the object store."""

ROUNDING = 1e-6
"""Ten times a tenth of a GPU is one GPU."""


@contextmanager
def ray_cluster(resources: ResourcesConfig, progress: Progress) -> Iterator[None]:
    """Connect to the cluster at `resources.address`, or start a local cluster that ends with the context.

    Args:
        resources: What a trial takes, and the address.
        progress: Watcher of the work.

    Raises:
        ClusterError: Ray cannot be reached or started, or no node can hold a trial within
            `resources.wait_for_resources_s`.
    """
    if ray.is_initialized():
        raise ClusterError(
            "this process is connected to a Ray cluster already; call ray.shutdown() before searching",
            code="cluster.already_connected",
        )
    apply_gpu_visibility_settings()
    try:
        if not joins_cluster(resources):
            start_local_cluster()
        else:
            with keep_sigterm_handler():
                ray.init(address=resources.address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        where = resources.address or "a local cluster"
        raise ClusterError(
            f"Ray at {where} cannot be used: {first_line(error)}; check `ray status` (and RAY_AUTH_MODE=token, when "
            "the cluster asks for a token), or use --address local to start a local cluster",
            code="cluster.unreachable",
            field="resources.address",
        ) from error
    try:
        wait_for_node(resources, progress)
        yield
    finally:
        ray.shutdown()


def joins_cluster(resources: ResourcesConfig) -> bool:
    """Return whether a search joins a running cluster instead of starting one: inside a Ray job it always does."""
    return resources.address is not None or in_ray_job()


def start_local_cluster(num_cpus: int | None = None) -> None:
    """Start a cluster on this machine that only this machine can reach, and connect to it.

    Args:
        num_cpus: CPUs that the cluster hands to tasks; by default those of the machine.
    """
    with loopback_only(), keep_sigterm_handler():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )


def has_gpus() -> bool:
    """Return whether the connected cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU", 0.0) > 0)


def own_slots(resources: ResourcesConfig) -> int:
    """Return how many trials fit on the connected cluster at once, at least 1."""
    total = ray.cluster_resources()
    slots = int(total.get("CPU", 0.0) / resources.cpus_per_trial + ROUNDING)
    gpus = resources.gpus_per_trial
    assert gpus != "auto"
    if gpus > 0:
        slots = min(slots, int(total.get("GPU", 0.0) / gpus + ROUNDING))
    return max(1, min(slots, resources.max_parallel_trials or slots))


def worker_slots(*, cpus: float, gpus: float) -> list[int]:
    """Return how many workers fit on each node of the connected cluster.

    Args:
        cpus: CPUs per worker, above 0.
        gpus: GPUs per worker.
    """
    wanted = {kind: amount for kind, amount in (("CPU", cpus), ("GPU", gpus)) if amount > 0}
    return [min(int(node.get(kind, 0.0) / wanted[kind] + ROUNDING) for kind in wanted) for node in _nodes()]


def trial_bundle(resources: ResourcesConfig) -> dict[str, float]:
    """Return the resources of a trial by Ray's names."""
    gpus = resources.gpus_per_trial
    bundle = {"CPU": float(resources.cpus_per_trial), "GPU": 0.0 if gpus == "auto" else float(gpus)}
    return {kind: amount for kind, amount in bundle.items() if amount > 0}


def wait_for_node(resources: ResourcesConfig, progress: Progress) -> None:
    """Wait until a node of the connected cluster can hold one trial, for `resources.wait_for_resources_s` at most.

    Raises:
        ClusterError: None can.
    """
    if _trial_fits(resources):
        return
    if resources.wait_for_resources_s is not None:
        progress.event("cluster", f"waiting up to {duration(resources.wait_for_resources_s)} for a free slot")
        deadline = time.monotonic() + resources.wait_for_resources_s
        request = placement_group([trial_bundle(resources)])  # an autoscaler sees it
        try:
            while time.monotonic() < deadline:
                if request.wait(timeout_seconds=1):
                    return
        finally:
            remove_placement_group(request)
    _raise_no_node(resources)


def _trial_fits(resources: ResourcesConfig) -> bool:
    wanted = trial_bundle(resources)
    return any(all(node.get(kind, 0.0) >= amount for kind, amount in wanted.items()) for node in _nodes())


def _raise_no_node(resources: ResourcesConfig) -> NoReturn:
    wanted = {"CPU": 0.0, "GPU": 0.0} | trial_bundle(resources)
    nodes = _nodes()
    largest = ", ".join(f"{max((node.get(kind, 0.0) for node in nodes), default=0.0):g} {kind}" for kind in wanted)
    raise ClusterError(
        f"a trial needs {wanted['CPU']:g} CPU and {wanted['GPU']:g} GPU, and no node has both (the largest amounts on "
        f"one node: {largest}); lower --cpus-per-trial or --gpus-per-trial, or wait for "
        "an autoscaler with --wait-for-resources 10m",
        code="cluster.trial_does_not_fit",
        field="resources",
    )


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
