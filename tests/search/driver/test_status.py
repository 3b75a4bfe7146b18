from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.records import (
    Cost,
    EpochMetrics,
    Recipe,
    StudentMetrics,
    StudentSpec,
    TrialOutcome,
    TrialRecord,
    TrialStatus,
    TrialTask,
)
from nas_distill.search.driver.status import TrialCounts, end_text


class Ended(NamedTuple):
    """An ended trial, and the number of its epochs that this process trained."""

    record: TrialRecord
    epochs_here: int


def ended(
    number: int,
    num_params: int = 10_000,
    quality: float | None = 1.0,
    *,
    status: TrialStatus = TrialStatus.COMPLETE,
    epochs: int = 10,
    epochs_here: int = 10,
) -> Ended:
    metrics = None
    if quality is not None:
        metrics = StudentMetrics(
            top1=0.9, nll_nats=0.3, gap_points=quality, agreement=min(max(quality, 0.0), 1.0), divergence_nats=0.1,
            train_top1=1.0, train_agreement=1.0, train_divergence_nats=0.0, generalisation_gap_points=10.0,
            capacity_ratio=0.1, class_gap_points=(2.5,), class_counts=(10,),
        )  # fmt: skip
    task = TrialTask(
        number=number, seed=0, spec=StudentSpec(architecture="resnet18"), recipe=Recipe(epochs=10),
        cost=Cost(num_params=num_params, macs=1, size_bytes=1),
    )  # fmt: skip
    outcome = TrialOutcome(
        status=status,
        curve=tuple(make_point(epoch) for epoch in range(1, epochs + 1)),
        metrics=metrics,
        error="NaN" if status is TrialStatus.FAILED else None,
    )
    return Ended(TrialRecord(task=task, outcome=outcome), epochs_here)


def make_point(epoch: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch, train_loss=1.0, loss_parts={}, learning_rate=0.1, top1=0.9, nll_nats=0.3, gap_points=2.25,
        agreement=0.9, divergence_nats=0.1, wall_time_s=1.5,
    )  # fmt: skip


def count(trials: Iterable[Ended], quality: str = "gap_points") -> TrialCounts:
    found = TrialCounts(quality)
    for trial in trials:
        found.add(trial.record, epochs_here=trial.epochs_here)
    return found


def test_counts_by_status() -> None:
    trials = [
        ended(0),
        ended(1),
        ended(2, quality=None, status=TrialStatus.STOPPED),
        ended(3, quality=None, status=TrialStatus.FAILED),
    ]
    status = count(trials).status(total=8, running={4: (3, 10)}, rejected=5, elapsed_s=40.0)
    assert (status.total, status.complete, status.stopped, status.failed, status.rejected) == (8, 2, 1, 1, 5)
    assert status.running == {4: (3, 10)}


def test_before_any_trial_ends_there_are_no_bands_and_no_estimate() -> None:
    status = count([]).status(total=8, running={0: (3, 10)}, rejected=0, elapsed_s=40.0)
    assert status.bands == ()
    assert status.remaining_s is None


def test_bands_keep_the_best_and_show_holes() -> None:
    bands = count(
        [ended(0, 12_000, 2.0), ended(1, 31_000, -0.5), ended(2, 30_000, 0.0), ended(3, 400_000, 0.1)]
    ).bands()
    assert [(band.label, band.best_quality, band.number) for band in bands] == [
        ("10k-32k", -0.5, 1),
        ("32k-100k", None, None),
        ("100k-320k", None, None),
        ("320k-1M", 0.1, 3),
    ]


def test_a_maximised_quality_keeps_the_largest() -> None:
    (band,) = count([ended(0, 5_000, 0.7), ended(1, 5_000, 0.9), ended(2, 5_000, 0.8)], "agreement").bands()
    assert (band.best_quality, band.number) == (0.9, 1)


def test_the_first_of_two_equal_students_stays_the_best() -> None:
    (band,) = count([ended(4, 5_000, 0.7), ended(2, 4_000, 0.7)]).bands()
    assert band.number == 4


def test_a_failed_trial_opens_a_band_without_a_value() -> None:
    (band,) = count([ended(0, 5_000, None, status=TrialStatus.FAILED)]).bands()
    assert (band.label, band.best_quality) == ("3.2k-10k", None)


@pytest.mark.parametrize(
    ("num_params", "label"),
    [
        (1, "1-3.2"),
        (999, "320-1k"),
        (1_000, "1k-3.2k"),
        (9_999, "3.2k-10k"),
        (10_000, "10k-32k"),
        (1_000_000, "1M-3.2M"),
        (50_000_000, "32M-100M"),
        (2_000_000_000, "1G-3.2G"),
    ],
)
def test_labels(num_params: int, label: str) -> None:
    (band,) = count([ended(0, num_params)]).bands()
    assert band.label == label


@given(sizes=st.lists(st.integers(1, 10**10), min_size=1, max_size=20))
def test_every_student_lies_in_exactly_one_band(sizes: list[int]) -> None:
    bands = count([ended(number, size, float(size)) for number, size in enumerate(sizes)]).bands()
    assert len({band.label for band in bands}) == len(bands)
    best: dict[int, int] = {}
    for size in sizes:
        band = math.floor(2 * math.log10(size))
        best[band] = min(size, best.get(band, size))
    found = [band.best_quality for band in bands if band.best_quality is not None]
    assert found == [best[band] for band in sorted(best)]


def test_time_left_is_epochs_left_over_epochs_per_second() -> None:
    # 20 + 5 epochs in 50 s is 0.5 epochs/s; 5 + 1 x 10 are left.
    assert count([ended(0), ended(1)]).remaining_seconds(
        total=4, running={2: (5, 10)}, elapsed_s=50.0
    ) == pytest.approx(30.0)


def test_trials_that_end_early_shorten_the_estimate() -> None:
    early = [ended(0, epochs=4, epochs_here=4), ended(1, epochs=6, epochs_here=6)]
    assert count(early).remaining_seconds(total=4, running={}, elapsed_s=10.0) == pytest.approx(10.0)


def test_trials_of_earlier_sessions_do_not_count_as_speed() -> None:
    before = [ended(number, epochs_here=0) for number in range(5)]
    assert count(before).remaining_seconds(total=8, running={5: (2, 10)}, elapsed_s=4.0) is None
    here = [*before, ended(5)]
    assert count(here).remaining_seconds(total=8, running={}, elapsed_s=20.0) == pytest.approx(40.0)


@pytest.mark.parametrize("inherited", [15, 20])
def test_a_resumed_trial_that_restarts_behind_its_curve_leaves_no_estimate(inherited: int) -> None:
    early = count([ended(0, epochs=12, epochs_here=12)])
    assert early.remaining_seconds(total=4, running={1: (3, 30)}, elapsed_s=9.0, inherited=inherited) is None


def test_without_remaining_trials_the_estimate_is_zero() -> None:
    assert count([ended(0)]).remaining_seconds(total=1, running={}, elapsed_s=5.0) == 0.0


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (TrialStatus.STOPPED, None, "stopped after epoch 1 at gap_points 2.25, resnet18, 9,000 parameters, 1.5 s"),
        (TrialStatus.FAILED, "NaN", "failed: NaN (resnet18, 9,000 parameters)"),
    ],
)
def test_the_text_of_a_trial_that_was_not_fully_trained(status: TrialStatus, error: str | None, expected: str) -> None:
    task = TrialTask(
        number=4, seed=0, spec=StudentSpec(architecture="resnet18"), recipe=Recipe(),
        cost=Cost(num_params=9000, macs=1, size_bytes=4),
    )  # fmt: skip
    record = TrialRecord(task=task, outcome=TrialOutcome(status=status, curve=(make_point(1),), error=error))
    assert end_text(record, quality="gap_points") == f"trial 4 {expected}"
