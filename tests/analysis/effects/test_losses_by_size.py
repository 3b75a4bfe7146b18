from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.analysis.effects.by_size import MIN_TRIALS, size_bands
from nas_distill.analysis.effects.losses_by_size import loss_label, losses_by_size
from nas_distill.analysis.trials.study_reader import COLUMNS

Losses = Mapping[str, Mapping[str, float]]

KD: Losses = {"kd": {"weight": 0.9}}
DIST: Losses = {"dist": {}}
CONTROL: Losses = {}


def make_trials(*students: tuple[Losses, int, float], status: str = "complete") -> pd.DataFrame:
    """Return a table of trials from the losses, parameters and gap of each."""
    rows = [
        {"number": number, "status": status, "num_params": size, "gap_points": gap, "losses": json.dumps(losses)}
        for number, (losses, size, gap) in enumerate(students)
    ]
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def of_loss(losses: Losses, gaps: Sequence[float], size: int = 1000) -> list[tuple[Losses, int, float]]:
    return [(losses, size, gap) for gap in gaps]


@pytest.mark.parametrize(
    ("losses", "label"),
    [
        ({}, "none"),
        ({"kd": {"temperature": 4.0}}, "kd"),
        ({"kd": {"standardise": 1.0}}, "kd (standardised)"),
        ({"kd": {"standardise": 0.0}, "at": {}}, "at+kd"),
        ({"kd": {"weight": 0.0}, "at": {"weight": 2.0}}, "at"),
        ({"kd": {"weight": 0.0}}, "none"),
    ],
)
def test_the_label_names_the_losses_with_a_weight(losses: Losses, label: str) -> None:
    assert loss_label(json.dumps(losses)) == label


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60))
def test_bands_have_enough_students_and_are_sorted_by_size(sizes: list[int]) -> None:
    bands = size_bands(np.array(sizes, dtype=np.int64))
    counts = np.bincount(bands)
    assert len(counts) == 1 or counts.min() >= MIN_TRIALS
    assert len(counts) <= 3
    for one, band in zip(sizes, bands, strict=True):
        for other, its in zip(sizes, bands, strict=True):
            assert one != other or band == its
            assert one >= other or band <= its


@pytest.mark.parametrize(("count", "bands"), [(1, 1), (9, 1), (10, 2), (14, 2), (15, 3), (60, 3)])
def test_there_are_as_many_bands_as_students_allow(count: int, bands: int) -> None:
    found = size_bands(np.arange(1000, 1000 + count))
    assert np.bincount(found).tolist() == pytest.approx([count / bands] * bands, abs=1)


def test_each_band_has_its_own_best_loss() -> None:
    small = of_loss(KD, [5.0, 6.0, 7.0], size=1000) + of_loss(DIST, [3.0, 3.5], size=1100)
    large = of_loss(KD, [1.0, 1.2], size=9000) + of_loss(CONTROL, [2.0, 2.2, 0.5], size=9900)
    first, second = losses_by_size(make_trials(*small, *large))
    assert (first.smallest, first.largest, first.trials) == (1000, 1100, 5)
    assert (second.smallest, second.largest, second.trials) == (9000, 9900, 5)
    assert [(score.label, score.trials, score.median_gap_points) for score in first.scores] == [
        ("dist", 2, 3.25),
        ("kd", 3, 6.0),
    ]
    assert second.best.label == "kd"
    assert second.best.median_gap_points == pytest.approx(1.1)
    assert second.runner_up is not None
    assert (second.runner_up.label, second.runner_up.best_gap_points) == ("none", 0.5)


def test_a_single_trial_comes_after_medians_however_good() -> None:
    (band,) = losses_by_size(make_trials(*of_loss(KD, [4.0, 5.0]), *of_loss(DIST, [0.1])))
    assert [score.label for score in band.scores] == ["kd", "dist"]
    assert band.scores[1].interval is None
    assert (band.standing, band.runner_up, band.better_single) == ("no runner-up", None, band.scores[1])
    (band,) = losses_by_size(make_trials(*of_loss(KD, [4.0, 5.0]), *of_loss(DIST, [4.5])))
    assert band.better_single is None


def test_without_two_trials_of_any_loss_the_best_single_trial_is_reported() -> None:
    (band,) = losses_by_size(make_trials(*of_loss(KD, [4.0]), *of_loss(DIST, [0.1])))
    assert (band.best.label, band.standing) == ("dist", "single trial")


def test_a_clear_best_loss_needs_separate_intervals_of_enough_trials() -> None:
    low, high = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [3.0, 3.1, 3.2, 3.3, 3.4, 3.5]
    (clear,) = losses_by_size(make_trials(*of_loss(KD, low), *of_loss(DIST, high)))
    assert (clear.best.label, clear.standing) == ("kd", "clear")
    (few,) = losses_by_size(make_trials(*of_loss(KD, low[:5]), *of_loss(DIST, high)))
    assert few.standing == "not distinguishable"
    (mixed,) = losses_by_size(make_trials(*of_loss(KD, low), *of_loss(DIST, [0.9, 1.0, 1.35, 1.4, 1.5, 1.6])))
    assert mixed.standing == "not distinguishable"


def test_only_full_trials_count_and_an_empty_study_has_no_bands() -> None:
    assert losses_by_size(make_trials()) == ()
    assert losses_by_size(make_trials(*of_loss(KD, [1.0, 2.0]), status="stopped")) == ()
    full, stopped = make_trials(*of_loss(KD, [1.0, 2.0])), make_trials(*of_loss(DIST, [0.0, 0.0]), status="stopped")
    (band,) = losses_by_size(pd.concat([full, stopped]))
    assert [score.label for score in band.scores] == ["kd"]


def test_stopped_trials_keep_a_loss_from_being_clearly_best() -> None:
    kept = make_trials(*of_loss(KD, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]), *of_loss(DIST, [3.0, 3.1, 3.2, 3.3, 3.4, 3.5]))
    for lost, standing in ((1, "clear"), (12, "not distinguishable")):
        stopped = make_trials(*of_loss(KD, [0.0] * lost, size=500), status="stopped")
        (band,) = losses_by_size(pd.concat([kept, stopped]))
        counts = {score.label: (score.trials, score.stopped) for score in band.scores}
        assert counts == {"kd": (6, lost), "dist": (6, 0)}
        assert band.standing == standing
    stopped = make_trials(*of_loss(DIST, [9.0] * 12), status="stopped")
    (band,) = losses_by_size(pd.concat([kept, stopped]))
    assert band.standing == "clear"  # stopped trials of the runner-up do not matter


def test_stopped_trials_belong_to_the_band_of_their_size() -> None:
    full = make_trials(*of_loss(KD, [5.0] * 5, size=1000), *of_loss(KD, [1.0] * 5, size=9000))
    sizes = [10, 1000, 1001, 9000, 10**6]
    stopped = make_trials(*((KD, size, 0.0) for size in sizes), status="stopped")
    assert [band.best.stopped for band in losses_by_size(pd.concat([full, stopped]))] == [2, 3]


def test_students_of_an_assistant_do_not_count_twice() -> None:
    trials = make_trials(*of_loss(KD, [1.0, 2.0, 0.0]))
    trials.loc[2, "assistant"] = 1
    (band,) = losses_by_size(trials)
    assert (band.trials, band.best.best_gap_points) == (2, 1.0)


def test_the_intervals_of_a_study_are_reproducible() -> None:
    trials = make_trials(*of_loss(KD, [1.0, 2.0, 4.0, 9.0]), *of_loss(DIST, [0.0, 3.0, 5.0]))
    assert losses_by_size(trials) == losses_by_size(trials)
