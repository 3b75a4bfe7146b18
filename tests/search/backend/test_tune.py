"""Errors of the driver that are raised inside Ray Tune."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.callbacks import SearchStatus
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError
from nas_distill.search.backend.tune import run_tune
from nas_distill.search.backend.workers import WorkerSetup
from tests.helpers import Heard, SmallRun
from tests.search.driver.driving import open_driver

pytestmark = pytest.mark.usefixtures("shared_cluster")


class Broken(Heard):
    """A watcher that raises an error once an epoch is trained."""

    def status(self, status: SearchStatus) -> None:
        if any(done for done, _ in status.running.values()):
            raise KeyError("no such column")


@pytest.mark.timeout(400)
def test_the_error_names_an_exception_in_a_callback(tmp_path: Path, small_run: SmallRun) -> None:
    for part in small_run.run.path.iterdir():
        if part.name != "trials":
            (tmp_path / part.name).symlink_to(part)
    driver, _ = open_driver(tmp_path, small_run, total=1, heard=Broken())
    setup = WorkerSetup(
        config=small_run.worker_config().model_copy(update={"run": str(tmp_path)}),
        resources=ResourcesConfig(cpus_per_trial=1.0, gpus_per_trial=0.0, max_parallel_trials=1),
    )
    with pytest.raises(ClusterError) as caught:
        run_tune(driver, setup)
    assert caught.value.code == "cluster.ray_failed"
    assert "KeyError: 'no such column'" in str(caught.value)


@pytest.mark.timeout(400)
def test_the_error_names_what_kept_workers_from_starting(tmp_path: Path, small_run: SmallRun) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=3)
    config = small_run.worker_config().model_copy(update={"run": str(tmp_path)})  # it holds no data
    resources = ResourcesConfig(cpus_per_trial=1.0, gpus_per_trial=0.0, max_parallel_trials=1)
    assert run_tune(driver, WorkerSetup(config=config, resources=resources))
    assert driver.failure is not None
    assert driver.failure.code == "cluster.workers_died"
    assert str(tmp_path / "data.json") in str(driver.failure)
