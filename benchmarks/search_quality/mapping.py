"""From what a sampler proposes to a row of a table: the nearest one that is still free.

A table holds a few hundred candidates, a sampler may propose any of millions. What it proposes is described by what
decides a training, not by the sampler's own parameters: logarithms of parameters and multiply-accumulates, the family,
and the recipe. Numbers are scaled to the table's range, a different name is a distance of 1, and what only one of the
two recipes has counts nothing, since its name (of the loss, of the remedy) counts already. The distance is the mean
over the three facts about the network plus the mean over the facts about the recipe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_quality.curve_table import Row
from nas_distill.records import Cost, Recipe, StudentSpec

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NETWORK_NUMBERS = 2
_NETWORK_NAMES = 1


@dataclass(frozen=True, slots=True)
class Described:
    """What decides a training: numbers (NaN where there is none) and names, those about the network first."""

    numbers: tuple[float, ...]
    names: tuple[str, ...]


def describe(spec: StudentSpec, recipe: Recipe, cost: Cost) -> Described:
    """Return what decides the training of a candidate by a recipe."""
    adaptive = recipe.adaptive
    loss, parameters = next(iter(recipe.losses.items()), ("none", {}))
    return Described(
        numbers=(
            math.log(cost.num_params),
            math.log(max(cost.macs, 1)),
            math.log(recipe.learning_rate),
            _log(recipe.weight_decay),
            recipe.label_smoothing,
            recipe.dropout,
            recipe.drop_path,
            # Steps over which the weights are averaged.
            math.log(1.0 / (1.0 - recipe.ema_decay)),
            recipe.early_stopping_patience / recipe.epochs,
            _log(recipe.label_weight) if recipe.losses else math.nan,
            _log(parameters.get("weight", math.nan)),
            _log(parameters.get("temperature", math.nan)),
            parameters.get("standardise", math.nan),
            adaptive.teacher_until if adaptive.teacher_until < 1.0 else math.nan,
            _log(adaptive.temperature_end) if adaptive.temperature_schedule != "constant" else math.nan,
        ),
        names=(spec.family, loss, recipe.schedule, recipe.mix, _remedy(recipe)),
    )


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def _remedy(recipe: Recipe) -> str:
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
        count = numbers.shape[1] - _NETWORK_NUMBERS + self._names.shape[1] - _NETWORK_NAMES
        self._number_weights = _weights(numbers.shape[1], _NETWORK_NUMBERS, count)
        self._name_weights = _weights(self._names.shape[1], _NETWORK_NAMES, count)

    def distances(self, wanted: Described) -> Floats:
        """Return the distance of every row [N], 0 to 2 within the table's range."""
        apart = np.abs(self._numbers - np.array(wanted.numbers) / self._scale)
        different = self._names != np.array(wanted.names)
        distances: Floats = np.nan_to_num(apart) @ self._number_weights + different @ self._name_weights
        return distances

    def nearest(self, wanted: Described, free: Mask) -> int | None:
        """Return the nearest free row, the first of equals; None when none is free.

        Args:
            wanted: What was proposed.
            free: [N].
        """
        if not free.any():
            return None
        return int(np.where(free, self.distances(wanted), np.inf).argmin())


def _weights(columns: int, of_network: int, of_recipe: int) -> Floats:
    network = np.full(of_network, 1.0 / (_NETWORK_NUMBERS + _NETWORK_NAMES))
    return np.concatenate([network, np.full(columns - of_network, 1.0 / of_recipe)])
