"""Every private or undocumented part of Ray that this project uses, as read in Ray 2.60.0.

Nothing else in the package touches Ray's private modules, reads its environment variables or relies on its internals.
`tests/search/backend/test_ray_private.py` fails when an installed Ray no longer has one of them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray._private import ray_constants, utils
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

READ_IN = "2.60.0"
"""Version of Ray whose source this module was written against."""

RESOURCE_PRECISION = 10_000
"""Ray counts resources in units of 1/10,000 (`ray._raylet`, `resource_spec`)."""

TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run directory holds every curve already
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must reach the driver instead of ending in a snapshot of Tune's
    # By default Tune keeps one trial waiting for a worker, so that workers start one after another.
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Environment variables that Tune reads when `Tuner.fit` runs."""

GPU_VISIBILITY_SETTINGS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Keeps Ray from hiding all GPUs from tasks that ask for none."""


DASHBOARD_ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Environment variable that the client of the Jobs API reads instead of the address that it is given."""

_PACKAGE_FOLDER = ("runtime_resources", "working_dir_files")
"""Where Ray unpacks the working folder of a job, on each node for itself (`runtime_env.working_dir`)."""


def in_ray_job() -> bool:
    """Return whether this process is the program of a Ray job."""
    return RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ


def is_in_job_package(path: Path) -> bool:
    """Return whether a path lies in the folder of a Ray job's package, which Ray removes after the job."""
    parts = path.parts
    return any(parts[i : i + 2] == _PACKAGE_FOLDER for i in range(len(parts)))


def apply_tune_settings() -> None:
    """Set the environment variables of `TUNE_SETTINGS` in this process."""
    os.environ.update(TUNE_SETTINGS)


def apply_gpu_visibility_settings() -> None:
    """Set the environment variables of `GPU_VISIBILITY_SETTINGS`, unless the user has set them."""
    for name, value in GPU_VISIBILITY_SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def loopback_only() -> Iterator[None]:
    """Let a local cluster that starts inside this context listen on the loopback interface only.

    On Linux Ray replaces 127.0.0.1 by the machine's outward address and listens on all interfaces. Without this switch,
    which is off by default on macOS and Windows, anybody on the network could reach the cluster.
    """
    enabled = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM while Ray connects inside this context.

    `ray.init` replaces it twice: in Python by one that exits, and in C++ by one that prints a stack trace and aborts
    with exit status 134.
    """
    original = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = original
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # replaces the one in C++
