"""Score the values of a parameter: the gap of the students with a value against others of their size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.effects.by_size import MIN_TO_DISTINGUISH
from nas_distill.analysis.stats import median_interval

Floats = NDArray[np.float64]

_MAX_RANGES = 3
MAX_CATEGORIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueScore:
    """The students with one value of a parameter, or with values in one range.

    Attributes:
        value: Category, or range such as "0.002 to 0.004".
        students: Number of students with it.
        median_points: Median of their gaps minus the mean gap at their size, percentage points.
        interval: 95 % bootstrap interval of the median, percentage points.
    """

    value: str
    students: int
    median_points: float
    interval: tuple[float, float]


def value_scores(column: pd.Series[Any], residuals: Floats, generator: np.random.Generator) -> tuple[ValueScore, ...]:
    """Return the scores of a parameter's values, smallest median first.

    Numbers with more than a few values are grouped into up to three ranges of about as many students each. Values with
    fewer than `MIN_TO_DISTINGUISH` students are left out. Of the others at most `MAX_CATEGORIES` are scored, those with
    the most students.

    Args:
        column: Column of a `parameters.parameter_table` [N].
        residuals: Gap minus the mean gap at the student's size, percentage points [N].
        generator: Random generator of the bootstrap.
    """
    known = column.notna().to_numpy()
    own, left = column[known], residuals[known]
    labels = _ranges(own.to_numpy()) if own.dtype == np.float64 else own.to_numpy(dtype=str)
    scores = []
    for label in _most_frequent(labels):
        inside = left[labels == label]
        scores.append(
            ValueScore(
                value=label,
                students=len(inside),
                median_points=float(np.median(inside)),
                interval=median_interval(inside, generator),
            )
        )
    return tuple(sorted(scores, key=lambda score: (score.median_points, score.value)))


def _most_frequent(labels: NDArray[np.str_]) -> list[str]:
    """Return the labels with enough students, most students first, then alphabetically."""
    counts = [(-count, label) for label, count in Counter(labels.tolist()).items() if count >= MIN_TO_DISTINGUISH]
    return [label for _, label in sorted(counts)[:MAX_CATEGORIES]]


def _ranges(values: Floats) -> NDArray[np.str_]:
    """Return the range of each number; the number itself if there are few distinct ones."""
    distinct = np.unique(values)
    if len(distinct) <= _MAX_RANGES + 1:
        return np.array([f"{value:g}" for value in values])
    edges = np.quantile(values, np.arange(1, _MAX_RANGES) / _MAX_RANGES)
    ranges = np.searchsorted(edges, values)
    texts = {
        int(one): f"{values[ranges == one].min():.3g} to {values[ranges == one].max():.3g}" for one in np.unique(ranges)
    }
    return np.array([texts[int(one)] for one in ranges])
