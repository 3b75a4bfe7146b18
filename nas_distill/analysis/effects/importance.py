"""Permutation importance out of fold for the part of a gap that size does not explain, with controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer

Floats = NDArray[np.float64]

FOLDS = 5
CONTROLS = 3
"""Columns that are shuffled copies of parameters, drawn anew in each repetition."""

_TREES, _LEAF = 100, 3
_KNOTS = 5
_PENALTIES = tuple(10.0**power for power in range(-4, 4))
_SHUFFLES = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors:
    """Squared errors out of fold, in squared points; means over repetitions, per student.

    Attributes:
        without_size: Of the mean gap of the other folds [N].
        by_size: Of the fit on size alone [N].
        by_forest: Of size and forest [N].
        shuffled: Of those, with a parameter shuffled [P, N].
        controls: With a control shuffled [CONTROLS, N].
        residuals: Gap less the fit on size, points [N].
    """

    without_size: Floats
    by_size: Floats
    by_forest: Floats
    shuffled: Floats
    controls: Floats
    residuals: Floats


def coded(table: pd.DataFrame) -> Floats:
    """Returns parameters as numbers [N, P]: text by its place in the alphabet, NaN where missing."""
    columns = []
    for name in table.columns:
        column = table[name]
        if column.dtype == np.float64:
            columns.append(column.to_numpy())
        else:
            codes, _ = pd.factorize(column, sort=True)
            columns.append(np.where(codes < 0, np.nan, codes.astype(np.float64)))
    return np.column_stack(columns)


def out_of_fold_errors(logs: Floats, gaps: Floats, values: Floats, *, repetitions: int, seed: int) -> Errors:
    """Returns errors of repeated K-fold cross-validation.

    In each fold a cubic spline of log size (ridge-penalised) is fitted to the other folds, then a random forest
    (Breiman 2001, Mach. Learn. 45) to what is left there. Missing values are set to the column's median, so that a
    parameter does not tell that it applies: that is what family and loss are for. A parameter is shuffled among the
    students of the fold that it applies to (permutation importance, Breiman 2001, section 10). Log size is a column
    of the forest as well, which takes what the spline leaves of it, and is not reported.

    Args:
        logs: log size [N].
        gaps: Percentage points [N].
        values: Parameters [N, P], NaN where one does not apply.
        repetitions: Of the K folds.
        seed: Of folds, forests and shuffles.
    """
    generator = np.random.default_rng(seed)
    count, width = values.shape
    total = [np.zeros(count) for _ in range(3)]
    shuffled, residuals = np.zeros((width + CONTROLS, count)), np.zeros(count)
    for _ in range(repetitions):
        controls = generator.permuted(values[:, generator.integers(0, width, CONTROLS)], axis=0)
        every = np.column_stack([values, controls])
        applies = ~np.isnan(every)
        filled = np.column_stack([np.where(applies, every, np.nanmedian(every, axis=0)), logs])
        folds = KFold(FOLDS, shuffle=True, random_state=int(generator.integers(2**31)))
        for train, test in folds.split(filled):
            smooth = _smooth().fit(logs[train, None], gaps[train])
            left = gaps[train] - smooth.predict(logs[train, None])
            missed = gaps[test] - smooth.predict(logs[test, None])
            forest = RandomForestRegressor(
                _TREES, min_samples_leaf=_LEAF, max_features=1.0 / 3.0, random_state=int(generator.integers(2**31))
            ).fit(filled[train], left)
            total[0][test] += (gaps[test] - gaps[train].mean()) ** 2
            total[1][test] += missed**2
            total[2][test] += (missed - forest.predict(filled[test])) ** 2
            residuals[test] += missed
            stacked = _shuffles(filled[test], applies[test], generator)
            guesses = forest.predict(stacked).reshape(_SHUFFLES, width + CONTROLS, len(test))
            shuffled[:, test] += ((missed - guesses) ** 2).mean(axis=0)
    without_size, by_size, by_forest = (errors / repetitions for errors in total)
    shuffled /= repetitions
    return Errors(
        without_size=without_size, by_size=by_size, by_forest=by_forest, shuffled=shuffled[:width],
        controls=shuffled[width:], residuals=residuals / repetitions,
    )  # fmt: skip


def rise_of_error(shuffled: Floats, plain: Floats, weights: Floats) -> Floats:
    """Returns RMSE with shuffling less that without, points.

    Args:
        shuffled: Squared errors [P, N].
        plain: Squared errors [N].
        weights: Of students in each resample, rows sum to 1 [R, N].

    Returns:
        Array [R, P].
    """
    base = np.sqrt(weights @ plain)
    return np.asarray(np.sqrt(weights @ shuffled.T) - base[:, None])


def _smooth() -> Pipeline:
    return make_pipeline(SplineTransformer(_KNOTS, knots="quantile", extrapolation="linear"), RidgeCV(_PENALTIES))


def _shuffles(rows: Floats, applies: NDArray[np.bool_], generator: np.random.Generator) -> Floats:
    """Returns the rows once per shuffle and column, with that column shuffled among those it applies to."""
    count, width = applies.shape
    made = np.broadcast_to(rows, (_SHUFFLES, width, *rows.shape)).copy()
    for turn in range(_SHUFFLES):
        for column in range(width):
            own = np.flatnonzero(applies[:, column])
            made[turn, column, own, column] = rows[generator.permutation(own), column]
    return made.reshape(_SHUFFLES * width * count, -1)
