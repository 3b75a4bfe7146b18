"""Starting or joining a Ray cluster, and leaving it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private import ray_constants

from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, first_line

_OBJECT_STORE_BYTES = 128 * 2**20
"""Workers read data and knowledge from memory-mapped files; next to nothing passes through the object store."""

_ROUNDING = 1e-6
"""Ten times a tenth of a GPU is one GPU."""


@contextmanager
def ray_cluster(resources: ResourcesConfig) -> Iterator[None]:
    """Holds a connection to the cluster at `resources.address`, or a local cluster that ends with the context.

    Raises:
        ClusterError: Ray cannot be reached or started, or no node could ever hold one trial.
    """
    if ray.is_initialized():
        raise ClusterError("this process is connected to Ray already; call ray.shutdown() before searching")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if resources.address is None:
            _start_local()
        else:
            ray.init(address=resources.address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        where = resources.address or "a local cluster"
        raise ClusterError(
            f"resources.address: Ray at {where} cannot be used: {first_line(error)}; check `ray status` (and "
            "RAY_AUTH_MODE=token, when the cluster asks for a token), or give --address local to start a local one"
        ) from error
    try:
        _check_room(resources)
        yield
    finally:
        ray.shutdown()


def _start_local() -> None:
    # Ray turns 127.0.0.1 into the machine's outward address and listens on all interfaces, unless this switch (its
    # default on macOS and Windows) keeps every process of the cluster on loopback.
    clusters_enabled = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters_enabled


def has_gpus() -> bool:
    """Whether the connected cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU", 0.0) > 0)


def parallel_trials(resources: ResourcesConfig) -> int | None:
    """Returns how many trials may be handed out at once; None leaves it to what a joined cluster grows to hold.

    On a local cluster no more are handed out than fit, so that each proposal is made from all results so far.
    """
    if resources.address is not None:
        return resources.max_parallel_trials
    total = ray.cluster_resources()
    slots = int(total.get("CPU", 0.0) / resources.cpus_per_trial + _ROUNDING)
    gpus = resources.gpus_per_trial
    assert gpus != "auto"
    if gpus > 0:
        slots = min(slots, int(total.get("GPU", 0.0) / gpus + _ROUNDING))
    return max(1, min(slots, resources.max_parallel_trials or slots))


def _check_room(resources: ResourcesConfig) -> None:
    gpus = resources.gpus_per_trial
    wanted = {"CPU": resources.cpus_per_trial, "GPU": 0.0 if gpus == "auto" else gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(kind, 0.0) >= amount for kind, amount in wanted.items()) for node in nodes):
        return
    largest = ", ".join(f"{max((node.get(kind, 0.0) for node in nodes), default=0.0):g} {kind}" for kind in wanted)
    raise ClusterError(
        f"resources: a trial needs {wanted['CPU']:g} CPU and {wanted['GPU']:g} GPU, and no node has both (most on "
        f"one node: {largest}); lower --cpus-per-trial or --gpus-per-trial"
    )
