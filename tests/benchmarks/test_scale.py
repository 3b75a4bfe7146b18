"""How busy slots were, and which epochs a killed search trained again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale.comparing import differences, front_of, retrained_epochs
from benchmarks.scale.sleeping import complete_record, gap_after, log_of, point_after
from benchmarks.scale.slots import Span, busy_share
from nas_distill.records import Cost, Recipe, StudentSpec, TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record


def span(started: float, ended: float) -> Span:
    return Span(started=started, ended=ended, worker=1, torch=False)


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([span(0.0, 10.0), span(0.0, 10.0)], 1.0),
        ([span(0.0, 10.0), span(5.0, 20.0)], 0.75),  # one slot is free for half of the window
        ([span(-5.0, 5.0), span(2.0, 2.5)], 0.275),
        ([], 0.0),
    ],
)
def test_a_slot_is_busy_while_a_trial_runs_within_the_window(spans: list[Span], share: float) -> None:
    assert busy_share(spans, 2, (0.0, 10.0)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("epochs", "again"),
    [
        ([["started", 1, 2, 3]], 0),
        ([["started", 1, 2, 3], ["started", 3, 4]], 1),
        (
            [["started", 1, 2], ["started", 1, 2, 3], ["started", 3, 4]],
            2,
        ),  # the largest number per interruption, not the sum
        ([["started"], ["started", 1]], 0),
    ],
)
def test_epochs_trained_again_are_counted_per_interruption(
    epochs: list[list[str | int]], again: int, tmp_path: Path
) -> None:
    folder = RunDirectory(tmp_path).trial(3)
    folder.path.mkdir(parents=True)
    lines = [{"started_at": 0.0} if one == "started" else {"epoch": one} for session in epochs for one in session]
    log_of(folder).write_text("".join(json.dumps({"pid": 1, **line}) + "\n" for line in lines))
    assert retrained_epochs(tmp_path, 3) == again


def record(number: int, num_params: int, epochs: int = 2) -> TrialRecord:
    task = TrialTask(
        number=number,
        seed=0,
        spec=StudentSpec(architecture="small_resnet", arguments={"widths": (num_params, 8)}),
        recipe=Recipe(epochs=epochs),
        cost=Cost(num_params=num_params, macs=1, size_bytes=1),
    )
    return complete_record(task, [point_after(num_params, epoch, 0.1) for epoch in range(1, epochs + 1)])


def test_lost_and_different_trials_are_found_and_times_are_ignored() -> None:
    before = {0: record(0, 500), 1: record(1, 900)}
    assert differences(before, dict(before)) == []
    curve = tuple(point.model_copy(update={"wall_time_s": 9.0}) for point in before[1].curve)
    slower = changed_record(before[1], curve=curve, resumptions=2)
    assert differences(before, {**before, 1: slower}) == []
    assert differences(before, {0: before[0]}) == [1]
    assert differences(before, {0: before[0], 1: record(1, 901)}) == [1]
    assert differences(before, {0: before[0], 1: record(1, 900, epochs=3)}) == [1]
    assert differences(before, {**before, 2: record(2, 700)}) == [2]


def test_the_gap_falls_with_size_and_epochs_so_all_students_are_on_the_front() -> None:
    assert gap_after(1000, 2) > gap_after(2000, 2) > gap_after(2000, 3)
    assert len(front_of({number: record(number, 500 + number) for number in range(5)})) == 5
