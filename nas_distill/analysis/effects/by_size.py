"""Students of about the same size, compared by a label: their loss, their family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from nas_distill.records import TrialStatus

MOST_BANDS = 3
LEAST_TRIALS = 5
"""Of a band, when there is more than one."""

LEAST_TO_COMPARE = 2
"""Trials of a label in a band; one trial says what a label can do there, and nothing of how it does."""

LEAST_TO_TELL_APART = 6
"""Trials of a label in a band. The range of 5 values holds the median that they are drawn from with a probability of
1 - 2 / 2^5, below 95 %, and no bootstrap interval is wider than the range."""

WORSE_POINTS = 1000.0
"""Added to the largest gap of all for a stopped trial: worse than every other, and finite for the bootstrap."""

CONFIDENCE = 0.95
RESAMPLES = 2000

Standing = Literal["clear", "not told apart", "no second", "single trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What students with one label came to in a band.

    Attributes:
        label: Their loss (see `recipes.loss_label`) or family.
        trials: Fully trained students.
        stopped: Trials of that size that were stopped early, which no median holds.
        median_gap_points: Median of the capacity gaps of the fully trained, percentage points.
        best_gap_points: The smallest of them.
        interval: 95 % bootstrap interval of the median, percentage points; None for a single trial.
        cautious_high: Upper end of that interval when every stopped trial counts as worse than all others; None for a
            single trial.
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
        """Whether it has enough trials for a median that says anything."""
        return self.trials >= LEAST_TO_COMPARE


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBand:
    """Students of about the same size, by label.

    Attributes:
        smallest: Parameters of the smallest student.
        largest: Of the largest.
        trials: Fully trained students.
        scores: Best first: by median gap; after those the labels of a single trial, by its gap.
    """

    smallest: int
    largest: int
    trials: int
    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """The label with the lowest median gap; the best single trial's when no label has two trials."""
        return self.scores[0]

    @property
    def runner_up(self) -> Score | None:
        """The comparable label with the second lowest median gap, if there is one."""
        return next((score for score in self.scores[1:] if score.comparable), None)

    @property
    def better_single(self) -> Score | None:
        """The best single trial of another label, when its gap is below the best label's median."""
        single = next((score for score in self.scores[1:] if not score.comparable), None)
        return single if single is not None and single.best_gap_points < self.best.median_gap_points else None

    @property
    def standing(self) -> Standing:
        """How the best label stands to the runner-up.

        "clear": their intervals do not overlap, and each is of `LEAST_TO_TELL_APART` trials or more; "not told apart":
        otherwise; "no second": no other label is comparable; "single trial": none is. Where the best label's trials
        were stopped early, those count as its worst: a few that were let go on say little of a label.
        """
        best, other = self.best, self.runner_up
        if not best.comparable:
            return "single trial"
        if other is None:
            return "no second"
        assert best.cautious_high is not None
        assert other.interval is not None
        enough = min(best.trials, other.trials) >= LEAST_TO_TELL_APART
        return "clear" if enough and best.cautious_high < other.interval[0] else "not told apart"


def families_by_size(trials: pd.DataFrame, *, seed: int = 0) -> tuple[SizeBand, ...]:
    """Returns the families of each band of sizes, smallest students first; see `labels_by_size`."""
    return labels_by_size(trials, column="family", label=str, seed=seed)


def labels_by_size(
    trials: pd.DataFrame, *, column: str, label: Callable[[str], str], seed: int
) -> tuple[SizeBand, ...]:
    """Returns the labels of each band of sizes, smallest students first; nothing without a fully trained student.

    Bands are cut at quantiles of log num_params: at most `MOST_BANDS`, as many as leave `LEAST_TRIALS` in each, and
    students of one size stay together. Only students that the teacher taught count: what an assistant taught was
    chosen for its large gap, and is a second training of a student that counts already.

    Args:
        trials: Table as `frame.load_frame` returns it.
        column: That the label is of.
        label: Of a value of that column.
        seed: Of the bootstrap.
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
        SizeBand(
            smallest=int(sizes[inside].min()),
            largest=int(sizes[inside].max()),
            trials=int(inside.sum()),
            scores=_scores(labels[inside], gaps[inside], Counter(stopped_labels[stopped_bands == band]), generator),
        )
        for band, inside in enumerate(members)
    )


def size_bands(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns each student's band, from 0 for the smallest students.

    Args:
        sizes: Parameters [N], N at least 1.
    """
    logs = np.log10(np.maximum(sizes, 1))
    for count in range(min(MOST_BANDS, len(sizes) // LEAST_TRIALS), 1, -1):
        edges = np.quantile(logs, np.arange(1, count) / count)
        bands = np.searchsorted(edges, logs)
        if np.bincount(bands, minlength=count).min() >= LEAST_TRIALS:
            return bands.astype(np.int64)
    return np.zeros(len(sizes), dtype=np.int64)


def median_interval(values: Sequence[float] | NDArray[np.float64], seed: np.random.Generator) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the median (Efron 1979) of two values or more."""
    found = bootstrap(
        (np.asarray(values, dtype=np.float64),), np.median, confidence_level=CONFIDENCE, n_resamples=RESAMPLES,
        method="percentile", random_state=seed,
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _scores(
    labels: NDArray[np.str_], gaps: NDArray[np.float64], stopped: Counter[str], generator: np.random.Generator
) -> tuple[Score, ...]:
    scores = []
    for label in np.unique(labels):
        own, lost = gaps[labels == label], stopped[label]
        interval = median_interval(own, generator) if len(own) >= LEAST_TO_COMPARE else None
        cautious_high = None if interval is None else interval[1]
        if interval is not None and lost:
            cautious_high = median_interval([*own, *[gaps.max() + WORSE_POINTS] * lost], generator)[1]
        scores.append(
            Score(
                label=str(label),
                trials=len(own),
                stopped=lost,
                median_gap_points=float(np.median(own)),
                best_gap_points=float(own.min()),
                interval=interval,
                cautious_high=cautious_high,
            )
        )
    return tuple(sorted(scores, key=lambda score: (not score.comparable, score.median_gap_points, score.label)))
