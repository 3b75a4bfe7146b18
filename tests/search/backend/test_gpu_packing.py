"""How many trials share a GPU. Only the measurement itself needs a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.backend import gpu_packing
from nas_distill.search.backend.gpu_packing import (
    choose_gpus_per_trial,
    largest_candidates,
    share_of_gpu,
    trials_per_gpu,
)
from nas_distill.search.backend.ray_private import loopback_only
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.proposal.limits import Limits
from nas_distill.trial.context import WorkerConfig
from nas_distill.trial.run import MemoryProfile
from tests.helpers import Heard, SmallRun, make_task
from tests.search import worker_forks

GIB = 2**30
SHAPE = NetworkShape(num_classes=10, channels=1, image_size=8)
NO_LIMITS = Limits()


def memory_profile(peak_gib: float, gpu_gib: float = 80.0) -> MemoryProfile:
    return MemoryProfile(peak_bytes=int(peak_gib * GIB), gpu_bytes=int(gpu_gib * GIB))


@pytest.mark.parametrize(
    ("peak_gib", "cpus", "expected"),
    [(1.0, 64, 8), (10.0, 64, 6), (30.0, 64, 2), (79.0, 64, 1), (500.0, 64, 1), (1.0, 3, 3), (1.0, 0.5, 1)],
)
def test_memory_and_cpus_bound_the_trials_per_gpu(peak_gib: float, cpus: float, expected: int) -> None:
    assert trials_per_gpu(memory_profile(peak_gib), cpus_per_gpu=cpus, cpus_per_trial=1.0) == expected


@given(st.floats(0.01, 200.0), st.floats(0.5, 128.0), st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_packed_trials_fit_in_memory_and_cpus(peak_gib: float, cpus: float, per_trial: float) -> None:
    trials = trials_per_gpu(memory_profile(peak_gib), cpus_per_gpu=cpus, cpus_per_trial=per_trial)
    assert 1 <= trials <= 8
    assert trials == 1 or trials * peak_gib <= 80.0
    assert trials == 1 or trials * per_trial <= cpus


@given(st.integers(1, 8))
def test_shares_add_up_to_at_most_a_gpu_and_leave_no_room_for_one_more(trials: int) -> None:
    share = share_of_gpu(trials)
    assert trials * share <= 1.0 + 1e-9
    assert (trials + 1) * share > 1.0
    assert ResourcesConfig(gpus_per_trial=share).gpus_per_trial == share


def test_the_largest_candidates_within_the_limits_are_measured() -> None:
    specs = [
        StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})
        for width in (4, 16, 8, 32, 16)
    ]
    unbuildable = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (1, 1)})
    found = largest_candidates([*specs, unbuildable], SHAPE, NO_LIMITS, Recipe(), count=3)
    assert [task.spec.arguments["widths"][0] for task in found] == [32, 16, 8]
    limits = Limits(max_params=5000)
    assert [a.spec.arguments["widths"][0] for a in largest_candidates(specs, SHAPE, limits, Recipe())] == [8, 4]


def choose(worker_config: WorkerConfig, gpus: object, heard: Heard) -> float:
    resources = ResourcesConfig.model_validate({"gpus_per_trial": gpus})
    setup = WorkerSetup(config=worker_config, resources=resources)
    return choose_gpus_per_trial(setup, lambda: [make_task()], heard)


@pytest.fixture
def cluster_with_an_imaginary_gpu(no_cluster: None, forks: str) -> None:
    with loopback_only(), worker_forks.forked_workers(forks):
        ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)


def test_a_given_number_of_gpus_is_kept(small_run: SmallRun) -> None:
    assert choose(small_run.worker_config(), 0.25, Heard()) == 0.25


def test_a_cluster_without_gpus_trains_on_cpus(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_packing, "has_gpus", lambda: False)
    assert choose(small_run.worker_config(), "auto", Heard()) == 0.0


@pytest.mark.usefixtures("cluster_with_an_imaginary_gpu")
def test_memory_that_cannot_be_measured_is_a_cluster_error(small_run: SmallRun, tmp_path: Path) -> None:
    broken = small_run.worker_config().model_copy(update={"run": str(tmp_path)})  # fails with a GPU as well as without
    with pytest.raises(ClusterError) as caught:
        choose(broken, "auto", Heard())
    assert (caught.value.code, caught.value.field) == ("cluster.memory_not_measured", "resources.gpus_per_trial")
    assert "\n" not in str(caught.value)
