"""Map the proposal of a sampler to the nearest unused row of a table.

A table has a few hundred candidates, but a sampler can propose millions. The features of a proposal are the
logarithms of its parameters and multiply-accumulates, its family, and its recipe; the sampler's own parameters are
not used. Numbers are scaled to the range of the table. Different names have distance 1. Numbers that only one of two
recipes has are ignored, because the name of the loss or adaptation differs already. The distance is the mean over the
three features of the network plus the mean over the features of the recipe, plus 1 if the initial weights differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_quality.curve_table import Row
from nas_distill.records import RANDOM, Cost, Recipe, StudentSpec

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NETWORK_NUMBERS = 2
_NETWORK_NAMES = 1


@dataclass(frozen=True, slots=True)
class Features:
    """Features that decide a training: numbers (NaN if missing) and names, those of the network first."""

    numbers: tuple[float, ...]
    names: tuple[str, ...]
    initial_weights: str


def describe(spec: StudentSpec, recipe: Recipe, cost: Cost) -> Features:
    """Return the features of a candidate and its recipe."""
    adaptive = recipe.adaptive
    rate = recipe.learning_rate if spec.starts_from_random else recipe.for_fine_tuning().learning_rate
    loss, parameters = next(iter(recipe.losses.items()), ("none", {}))
    return Features(
        numbers=(
            math.log(cost.num_params),
            math.log(max(cost.macs, 1)),
            math.log(rate),
            _log(recipe.weight_decay),
            recipe.label_smoothing,
            recipe.dropout,
            recipe.drop_path,
            math.log(1.0 / (1.0 - recipe.ema_decay)),  # number of averaged steps
            recipe.early_stopping_patience / recipe.epochs,
            _log(recipe.label_weight) if recipe.losses else math.nan,
            _log(parameters.get("weight", math.nan)),
            _log(parameters.get("temperature", math.nan)),
            parameters.get("standardise", math.nan),
            adaptive.teacher_until if adaptive.teacher_until < 1.0 else math.nan,
            _log(adaptive.temperature_end) if adaptive.temperature_schedule != "constant" else math.nan,
        ),
        names=(spec.family, loss, recipe.schedule, recipe.mix, _adaptation(recipe)),
        initial_weights=spec.initial_weights or RANDOM,
    )


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def _adaptation(recipe: Recipe) -> str:
    adaptive = recipe.adaptive
    return "/".join(
        (
            adaptive.weight_schedule,
            adaptive.temperature_schedule,
            adaptive.sample_weighting,
            f"until {adaptive.teacher_until < 1.0}",
            f"plateau {adaptive.teacher_patience > 0}",
            f"release {adaptive.release}",
        )
    )


class RowMap:
    """Find the nearest row.

    Args:
        rows: N rows of a table, one per candidate.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        described = [describe(row.spec, row.recipe, row.cost) for row in rows]
        numbers = np.array([each.numbers for each in described], dtype=np.float64)
        with np.errstate(all="ignore"):
            low, high = np.fmin.reduce(numbers), np.fmax.reduce(numbers)
        self._scale = np.where(high > low, high - low, 1.0)
        self._numbers = numbers / self._scale
        self._names = np.array([each.names for each in described])
        self._initial_weights = np.array([each.initial_weights for each in described])
        count = numbers.shape[1] - _NETWORK_NUMBERS + self._names.shape[1] - _NETWORK_NAMES
        self._number_weights = _weights(numbers.shape[1], _NETWORK_NUMBERS, count)
        self._name_weights = _weights(self._names.shape[1], _NETWORK_NAMES, count)

    def distances(self, wanted: Features) -> Floats:
        """Return the distance of every row [N], from 0 to 3 within the table's range."""
        apart = np.abs(self._numbers - np.array(wanted.numbers) / self._scale)
        different = self._names != np.array(wanted.names)
        distances: Floats = np.nan_to_num(apart) @ self._number_weights + different @ self._name_weights
        distances += self._initial_weights != wanted.initial_weights
        return distances

    def nearest(self, wanted: Features, free: Mask) -> int | None:
        """Return the index of the nearest free row; ties go to the first, None if no row is free.

        Args:
            wanted: Features of the proposal.
            free: Mask of the rows that may be used [N].
        """
        if not free.any():
            return None
        return int(np.where(free, self.distances(wanted), np.inf).argmin())


def _weights(columns: int, of_network: int, of_recipe: int) -> Floats:
    network = np.full(of_network, 1.0 / (_NETWORK_NUMBERS + _NETWORK_NAMES))
    return np.concatenate([network, np.full(columns - of_network, 1.0 / of_recipe)])
