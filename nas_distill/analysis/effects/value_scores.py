"""How students with each value of a parameter did against others of their size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.effects.by_size import LEAST_TO_TELL_APART, median_interval

Floats = NDArray[np.float64]

_MOST_RANGES = 3
MOST_CATEGORIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueScore:
    """Students with one value, or values of one range, of a parameter.

    Attributes:
        value: Category, or range such as "0.002 to 0.004".
        students: That have it.
        median_points: Median of gap less the mean gap at their size, percentage points.
        interval: 95 % bootstrap interval of the median.
    """

    value: str
    students: int
    median_points: float
    interval: tuple[float, float]


def value_scores(column: pd.Series[Any], residuals: Floats, generator: np.random.Generator) -> tuple[ValueScore, ...]:
    """Returns the scores of a parameter's values, smallest median first.

    Of numbers with more than a few values up to three ranges with about as many students each; values of fewer than
    `LEAST_TO_TELL_APART` students are left out, and of more than `MOST_CATEGORIES` others the rarest.

    Args:
        column: Of a `parameters.parameter_table` [N].
        residuals: Gap less the mean gap at the student's size, points [N].
        generator: Of the bootstrap.
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
    """Returns the labels that have enough students, those of most first, of equally many by the alphabet."""
    counts = [(-count, label) for label, count in Counter(labels.tolist()).items() if count >= LEAST_TO_TELL_APART]
    return [label for _, label in sorted(counts)[:MOST_CATEGORIES]]


def _ranges(values: Floats) -> NDArray[np.str_]:
    """Returns each number's range; numbers themselves where there are few."""
    distinct = np.unique(values)
    if len(distinct) <= _MOST_RANGES + 1:
        return np.array([f"{value:g}" for value in values])
    edges = np.quantile(values, np.arange(1, _MOST_RANGES) / _MOST_RANGES)
    places = np.searchsorted(edges, values)
    texts = {
        int(place): f"{values[places == place].min():.3g} to {values[places == place].max():.3g}"
        for place in np.unique(places)
    }
    return np.array([texts[int(place)] for place in places])
