"""A worker: what it imports, and how it reports."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas_distill.run_directory.results import Circumstances
from nas_distill.records import Recipe
from nas_distill.search import reporting
from nas_distill.search.backend.protocol import ASSIGNMENT, CIRCUMSTANCES, EPOCH, NUMBER
from nas_distill.search.backend.protocol import report_interval
from nas_distill.search.backend.trainable import DistillTrainable
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.trial.context import Workplace
from tests.helpers import SmallRun, make_assignment

EPOCHS = 4


@pytest.fixture
def workplace(small_run: SmallRun, tmp_path: Path) -> Workplace:
    """The shared run's data, teacher and knowledge; trials in a folder of its own."""
    for part in small_run.run.path.iterdir():
        if part.name != "trials":
            (tmp_path / part.name).symlink_to(part)
    return small_run.workplace().model_copy(update={"run": str(tmp_path)})


@pytest.fixture
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs that take no time beside the interval between reports, however busy the machine is."""
    monkeypatch.setattr(reporting, "report_interval", lambda answered_after_s: math.inf)


def make_worker(workplace: Workplace, number: int = 0, *, rungs: tuple[int, ...] = ()) -> DistillTrainable:
    class Worker(DistillTrainable):
        """With what Tune's `with_parameters` would pass."""

        def setup(self, config: dict[str, object]) -> None:  # type: ignore[override]
            super().setup(config, workplace=workplace, space_name="tiny", rungs=rungs)

    return Worker(assignment(number))


def assignment(number: int) -> dict[str, object]:
    recipe = Recipe(epochs=EPOCHS, batch_size=32)
    return {NUMBER: number, ASSIGNMENT: make_assignment(number, recipe=recipe).model_dump_json()}


def test_a_worker_imports_nothing_that_only_the_driver_needs() -> None:
    code = "import sys, nas_distill.search.backend.trainable; print(sorted({'optuna', 'sklearn', 'moocore'} & set(sys.modules)))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.usefixtures("short_epochs")
def test_short_epochs_share_a_report(workplace: Workplace) -> None:
    report = make_worker(workplace).train()
    assert report["done"]
    assert report[EPOCH] == EPOCHS


def test_long_epochs_are_reported_one_by_one(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_EVERY_S", 0.0)
    busy = make_worker(workplace)
    reports = [busy.train() for _ in range(EPOCHS)]
    assert [report[EPOCH] for report in reports] == [1, 2, 3, 4]
    assert [report["done"] for report in reports] == [False, False, False, True]


def test_a_driver_that_answers_late_is_told_less_often() -> None:
    assert report_interval(0.0) == report_interval(0.05) == 1.0
    assert report_interval(0.2) == pytest.approx(4.0)
    assert report_interval(60.0) == 10.0


def test_a_worker_reports_at_the_pace_of_the_answers(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    busy = make_worker(workplace)

    def advance() -> int:
        clock[0] += 1.0
        return int(clock[0])

    monkeypatch.setattr(busy, "advance", advance)
    assert busy.step()[EPOCH] == 1
    clock[0] += 0.15  # until Tune asks for the next step
    assert busy.step()[EPOCH] == 4
    clock[0] += 60.0
    busy.reset_config(assignment(1))
    begun = clock[0]
    busy.step()
    assert clock[0] == begun + 1.0  # another trial: no answer was waited for


@pytest.mark.usefixtures("short_epochs")
def test_a_report_ends_at_a_rung_with_the_curve_on_disk(workplace: Workplace) -> None:
    rarely = workplace.model_copy(update={"checkpoint_interval_s": 1e6})
    busy = make_worker(rarely, rungs=(1, 3, EPOCHS))
    folder = RunDirectory(Path(workplace.run)).trial(0)
    for rung in (1, 3):
        report = busy.train()
        assert (report[EPOCH], report["done"]) == (rung, False)
        assert Circumstances.model_validate_json(report[CIRCUMSTANCES]).device == "cpu"
        assert len(folder.read_curve()) == rung
    last = busy.train()
    assert (last[EPOCH], last["done"]) == (EPOCHS, True)
    assert CIRCUMSTANCES not in last  # nothing is left to decide


@pytest.mark.usefixtures("short_epochs")
def test_one_worker_serves_one_trial_after_another(workplace: Workplace) -> None:
    busy = make_worker(workplace, 0)
    busy.train()
    context = busy._context
    assert busy.reset_config(assignment(1))
    assert busy.train()["done"]
    assert busy._context is context
    assert sorted(path.parent.name for path in Path(workplace.run).glob("trials/*/result.json")) == ["00000", "00001"]
