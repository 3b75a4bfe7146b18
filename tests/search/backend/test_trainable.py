"""The reports of the Tune worker."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from nas_distill.config import ResourcesConfig
from nas_distill.records import ExecutionInfo, Recipe
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend import protocol
from nas_distill.search.backend.protocol import EPOCH, EXECUTION_INFO, NUMBER, TASK, report_interval
from nas_distill.search.backend.trainable import DistillTrainable
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.trial.context import WorkerConfig
from tests.helpers import SmallRun, make_task

EPOCHS = 4


@pytest.fixture
def worker_config(small_run: SmallRun, tmp_path: Path) -> WorkerConfig:
    """Return data, teacher and knowledge of the shared run, with trials in a folder of their own."""
    for part in small_run.run.path.iterdir():
        if part.name != "trials":
            (tmp_path / part.name).symlink_to(part)
    return small_run.worker_config().model_copy(update={"run": str(tmp_path)})


@pytest.fixture
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make epochs short compared with the interval between reports, however busy the machine is."""
    monkeypatch.setattr(protocol, "report_interval", lambda answered_after_s: math.inf)


def make_worker(worker_config: WorkerConfig, number: int = 0, *, rungs: tuple[int, ...] = ()) -> DistillTrainable:
    class Worker(DistillTrainable):
        """Passes the parameters that Tune's `with_parameters` would pass."""

        def setup(self, config: dict[str, object]) -> None:  # type: ignore[override]
            setup = WorkerSetup(config=worker_config, resources=ResourcesConfig())
            super().setup(config, worker_setup=setup, rungs=rungs)

    return Worker(task(number))


def task(number: int) -> dict[str, object]:
    recipe = Recipe(epochs=EPOCHS, batch_size=32)
    return {NUMBER: number, TASK: make_task(number, recipe=recipe).model_dump_json()}


@pytest.mark.usefixtures("short_epochs")
def test_short_epochs_share_a_report(worker_config: WorkerConfig) -> None:
    report = make_worker(worker_config).train()
    assert report["done"]
    assert report[EPOCH] == EPOCHS


def test_long_epochs_are_reported_one_by_one(worker_config: WorkerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MIN_INTERVAL_S", 0.0)
    busy = make_worker(worker_config)
    reports = [busy.train() for _ in range(EPOCHS)]
    assert [report[EPOCH] for report in reports] == [1, 2, 3, 4]
    assert [report["done"] for report in reports] == [False, False, False, True]


def test_a_driver_that_answers_late_gets_fewer_reports() -> None:
    assert report_interval(0.0) == report_interval(0.05) == 1.0
    assert report_interval(0.2) == pytest.approx(4.0)
    assert report_interval(60.0) == 10.0


def test_a_worker_reports_less_often_when_answers_are_late(
    worker_config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    busy = make_worker(worker_config)

    def advance() -> int:
        clock[0] += 1.0
        return int(clock[0])

    monkeypatch.setattr(busy, "advance", advance)
    assert busy.step()[EPOCH] == 1
    clock[0] += 0.15  # until Tune asks for the next step
    assert busy.step()[EPOCH] == 4
    clock[0] += 60.0
    busy.reset_config(task(1))
    begun = clock[0]
    busy.step()
    assert clock[0] == begun + 1.0  # a new trial: the worker did not wait for an answer


@pytest.mark.usefixtures("short_epochs")
def test_a_report_ends_at_a_rung_with_the_curve_on_disk(worker_config: WorkerConfig) -> None:
    rarely = worker_config.model_copy(update={"checkpoint_interval_s": 1e6})
    busy = make_worker(rarely, rungs=(1, 3, EPOCHS))
    folder = RunDirectory(Path(worker_config.run)).trial(0)
    for rung in (1, 3):
        report = busy.train()
        assert (report[EPOCH], report["done"]) == (rung, False)
        assert ExecutionInfo.model_validate_json(report[EXECUTION_INFO]).device == "cpu"
        assert len(folder.read_curve()) == rung
    last = busy.train()
    assert (last[EPOCH], last["done"]) == (EPOCHS, True)
    assert EXECUTION_INFO not in last  # nothing is left to decide


@pytest.mark.usefixtures("short_epochs")
def test_one_worker_serves_one_trial_after_another(worker_config: WorkerConfig) -> None:
    busy = make_worker(worker_config, 0)
    busy.train()
    context = busy._context
    assert busy.reset_config(task(1))
    assert busy.train()["done"]
    assert busy._context is context
    assert sorted(path.parent.name for path in Path(worker_config.run).glob("trials/*/result.json")) == [
        "00000",
        "00001",
    ]
