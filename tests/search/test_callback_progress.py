from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from nas_distill.callbacks import Callback, EpochEnded, FrontChanged
from nas_distill.objectives import check_objectives
from nas_distill.records import TrialStatus
from nas_distill.search.callback_progress import CallbackProgress
from tests.helpers import Heard
from tests.report.factory import make_record


class Fronts(Callback):
    def __init__(self) -> None:
        self.changes: list[FrontChanged] = []
        self.epochs: list[int] = []

    def on_front_change(self, event: FrontChanged) -> None:
        self.changes.append(event)

    def on_epoch_end(self, event: EpochEnded) -> None:
        self.epochs.append(event.metrics.epoch)


def test_the_front_changes_when_a_trial_enters_it() -> None:
    fronts = Fronts()
    progress = CallbackProgress([fronts], Heard())
    front = {7: (3.0, 1000.0)}
    progress.search_started(Path("run"), check_objectives(("gap_points", "num_params")), front)
    progress.trial_ended(make_record(0, gap_points=5.0, num_params=2000))  # dominated by trial 7
    progress.trial_ended(make_record(1, gap_points=2.0, num_params=2000))
    progress.trial_ended(make_record(2, gap_points=2.0, num_params=2000))  # equal values: both stay
    progress.trial_ended(make_record(3, gap_points=0.0, num_params=1, status=TrialStatus.FAILED))
    progress.trial_ended(make_record(4, gap_points=1.0, num_params=900))  # dominates all
    assert [(one.added.number, one.removed, one.numbers) for one in fronts.changes] == [
        (1, (), (1, 7)),
        (2, (), (1, 2, 7)),
        (4, (1, 2, 7), (4,)),
    ]


def test_an_epoch_that_is_trained_again_is_reported_once() -> None:
    fronts = Fronts()
    progress = CallbackProgress([fronts], Heard())
    curve = make_record(0, gap_points=5.0, num_params=2000).curve
    for metrics in (*curve, *curve):
        progress.epoch_ended(EpochEnded(number=0, epochs=len(curve), metrics=metrics))
    assert fronts.epochs == [metrics.epoch for metrics in curve]


def test_a_failing_callback_is_a_warning_once_and_harms_no_other() -> None:
    class Failing(Callback):
        def on_trial_end(self, record: object) -> None:
            raise ValueError("wrong")

    heard, fronts = Heard(), Fronts()
    progress = CallbackProgress([Failing(), fronts], heard)
    progress.search_started(Path("run"), check_objectives(("gap_points", "num_params")))
    with pytest.warns(RuntimeWarning):
        progress.trial_ended(make_record(0, gap_points=5.0, num_params=2000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        progress.trial_ended(make_record(1, gap_points=4.0, num_params=2000))
        progress.trial_ended(make_record(2, gap_points=3.0, num_params=2000))
    assert len(heard.texts("warning")) == 1
    assert len(fronts.changes) == 3


def test_an_interrupt_from_a_callback_stops_the_search() -> None:
    class Stopping(Callback):
        def on_trial_end(self, record: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CallbackProgress([Stopping()], Heard()).trial_ended(make_record(0, gap_points=5.0, num_params=2000))
