"""Compare students of about the same size by a label, such as their loss or their family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.stats import median_interval
from nas_distill.records import TrialStatus

MAX_BANDS = 3
MIN_TRIALS = 5
"""Fewest students of a band, if there is more than one band."""

MIN_TO_COMPARE = 2
"""Fewest trials of a label in a band for its median to count. One trial shows what a label can reach, not what is
typical."""

MIN_TO_DISTINGUISH = 6
"""Fewest trials of a label in a band to call it clearly best. The range of 5 values holds the median of their
distribution with probability 1 - 2 / 2^5, which is below 95 %, and no bootstrap interval is wider than the range."""

WORSE_POINTS = 1000.0
"""Added to the largest gap to stand for a stopped trial: worse than every other, yet finite for the bootstrap."""

Standing = Literal["clear", "not distinguishable", "no runner-up", "single trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The gaps of the students with one label in a band.

    Attributes:
        label: Loss (see `losses_by_size.loss_label`) or family.
        trials: Number of fully trained students.
        stopped: Number of trials of this size that were stopped early. They have no final gap and are in no median.
        median_gap_points: Median capacity gap of the fully trained students, percentage points.
        best_gap_points: Smallest of those gaps, percentage points.
        interval: 95 % bootstrap interval of the median, percentage points; None for a single trial.
        cautious_high: Upper end of that interval if every stopped trial counts as worse than all others, percentage
            points; None for a single trial.
    """

    label: str
    trials: int
    stopped: int
    median_gap_points: float
    best_gap_points: float
    interval: tuple[float, float] | None
    cautious_high: float | None

    @property
    def comparable(self) -> bool:
        """Whether it has enough trials for its median to count."""
        return self.trials >= MIN_TO_COMPARE


@dataclass(frozen=True, slots=True, kw_only=True)
class BandComparison:
    """The labels of the students in one band of sizes.

    Attributes:
        smallest: Parameters of the smallest student.
        largest: Parameters of the largest student.
        trials: Number of fully trained students.
        scores: Scores of the labels, best first: by median gap, then the labels of a single trial by its gap.
    """

    smallest: int
    largest: int
    trials: int
    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """The label with the lowest median gap; the best single trial's if no label has two trials."""
        return self.scores[0]

    @property
    def runner_up(self) -> Score | None:
        """The comparable label with the second lowest median gap, if there is one."""
        return next((score for score in self.scores[1:] if score.comparable), None)

    @property
    def better_single(self) -> Score | None:
        """The best single trial of another label, if its gap is below the best label's median."""
        single = next((score for score in self.scores[1:] if not score.comparable), None)
        return single if single is not None and single.best_gap_points < self.best.median_gap_points else None

    @property
    def standing(self) -> Standing:
        """How clearly the best label beats the runner-up.

        "clear": each has at least `MIN_TO_DISTINGUISH` trials and their intervals do not overlap. The best label's
        stopped trials count as its worst, because the few that early stopping let finish would flatter it.
        "not distinguishable": both have two trials or more, and it is not clear. "no runner-up": no other label has two
        trials. "single trial": no label has.
        """
        best, other = self.best, self.runner_up
        if not best.comparable:
            return "single trial"
        if other is None:
            return "no runner-up"
        assert best.cautious_high is not None
        assert other.interval is not None
        enough = min(best.trials, other.trials) >= MIN_TO_DISTINGUISH
        return "clear" if enough and best.cautious_high < other.interval[0] else "not distinguishable"


def labels_by_size(
    trials: pd.DataFrame, *, column: str, label: Callable[[str], str], seed: int
) -> tuple[BandComparison, ...]:
    """Return the labels of each band of sizes, smallest students first.

    Bands are cut at quantiles of log num_params. There are at most `MAX_BANDS`, and as many as leave `MIN_TRIALS`
    students in each; students of one size stay together. Students that an assistant taught do not count: they were
    chosen for their large gaps, and each is a second training of a student that counts already.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        column: Column that the label is derived from.
        label: Function from a value of that column to its label.
        seed: Seed of the bootstrap.

    Returns:
        Empty without a fully trained student.
    """
    known = trials[trials["assistant"].isna() & trials["num_params"].notna() & trials[column].notna()]
    full = known[(known["status"] == TrialStatus.COMPLETE) & known["gap_points"].notna()]
    stopped = known[known["status"] == TrialStatus.STOPPED]
    if full.empty:
        return ()
    sizes = full["num_params"].to_numpy(dtype=np.int64)
    gaps = full["gap_points"].to_numpy(dtype=np.float64)
    labels = np.array([label(value) for value in full[column]])
    bands = size_bands(sizes)
    members = [bands == band for band in range(bands.max() + 1)]
    edges = [sizes[inside].max() for inside in members[:-1]]
    stopped_bands = np.searchsorted(edges, stopped["num_params"].to_numpy(dtype=np.int64))
    stopped_labels = np.array([label(value) for value in stopped[column]], dtype=np.str_)
    generator = np.random.default_rng(seed)
    return tuple(
        BandComparison(
            smallest=int(sizes[inside].min()),
            largest=int(sizes[inside].max()),
            trials=int(inside.sum()),
            scores=_scores(labels[inside], gaps[inside], Counter(stopped_labels[stopped_bands == band]), generator),
        )
        for band, inside in enumerate(members)
    )


def size_bands(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each student's band [N], counted from 0 for the smallest students.

    Args:
        sizes: Parameters [N], N at least 1.
    """
    logs = np.log10(np.maximum(sizes, 1))
    for count in range(min(MAX_BANDS, len(sizes) // MIN_TRIALS), 1, -1):
        edges = np.quantile(logs, np.arange(1, count) / count)
        bands = np.searchsorted(edges, logs)
        if np.bincount(bands, minlength=count).min() >= MIN_TRIALS:
            return bands.astype(np.int64)
    return np.zeros(len(sizes), dtype=np.int64)


def _scores(
    labels: NDArray[np.str_], gaps: NDArray[np.float64], stopped: Counter[str], generator: np.random.Generator
) -> tuple[Score, ...]:
    scores = []
    for label in np.unique(labels):
        own, num_stopped = gaps[labels == label], stopped[label]
        interval = median_interval(own, generator) if len(own) >= MIN_TO_COMPARE else None
        cautious_high = None if interval is None else interval[1]
        if interval is not None and num_stopped:
            cautious_high = median_interval([*own, *[gaps.max() + WORSE_POINTS] * num_stopped], generator)[1]
        scores.append(
            Score(
                label=str(label),
                trials=len(own),
                stopped=num_stopped,
                median_gap_points=float(np.median(own)),
                best_gap_points=float(own.min()),
                interval=interval,
                cautious_high=cautious_high,
            )
        )
    return tuple(sorted(scores, key=lambda score: (not score.comparable, score.median_gap_points, score.label)))
