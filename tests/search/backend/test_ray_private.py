"""Fails when an installed Ray no longer has the private parts that this project uses."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
import ray
import ray.tune.execution.experiment_state
import ray.tune.execution.tune_controller
import ray.tune.experimental.output
import ray.tune.tune
import ray.tune.utils.callback
from ray._private import ray_constants, services
from ray._private.accelerators import accelerator

import nas_distill
from nas_distill.search.backend import ray_private

READERS: dict[str, ModuleType] = {
    "RAY_AIR_NEW_OUTPUT": ray.tune.experimental.output,
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": ray.tune.utils.callback,
    "TUNE_DISABLE_SIGINT_HANDLER": ray.tune.tune,
    "TUNE_MAX_PENDING_TRIALS_PG": ray.tune.execution.tune_controller,
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": ray.tune.execution.experiment_state,
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": accelerator,
}
"""Environment variable -> the module of Ray that reads it."""


def test_every_setting_is_still_read_by_ray() -> None:
    assert set(READERS) == set(ray_private.TUNE_SETTINGS) | set(ray_private.GPU_VISIBILITY_SETTINGS)
    for name, module in READERS.items():
        assert name in inspect.getsource(module), f"{module.__name__} of Ray {ray.__version__} does not read {name}"


def test_the_switch_that_keeps_a_cluster_on_loopback_still_exists() -> None:
    assert "ray_constants.ENABLE_RAY_CLUSTER" in inspect.getsource(services.get_node_ip_address)
    before = ray_constants.ENABLE_RAY_CLUSTER
    with ray_private.loopback_only():
        assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert ray_constants.ENABLE_RAY_CLUSTER is before


def test_ray_still_counts_resources_in_ten_thousandths() -> None:
    ray.remote(num_gpus=1 / ray_private.RESOURCE_PRECISION)(lambda: None)
    with pytest.raises(ValueError, match="precision"):
        ray.remote(num_gpus=0.1 / ray_private.RESOURCE_PRECISION)(lambda: None)


def test_private_parts_of_ray_are_used_in_one_file_of_the_search_only() -> None:
    private = re.compile(r"ray\._|ray_constants|\"(TUNE|RAY)_[A-Z_]+\"")
    sources = (Path(nas_distill.__file__).parent / "search").rglob("*.py")
    assert [path.name for path in sources if private.search(path.read_text())] == ["ray_private.py"]
