"""Permutation importance, out of fold, for the part of the gap that size does not explain, with shuffled controls.

Own code instead of `sklearn.inspection.permutation_importance`, for three reasons. The intervals are a bootstrap over
students, which needs the squared error of each student, and scikit-learn returns one score per repeat. A parameter must
be shuffled only among the students that it applies to, and scikit-learn shuffles whole columns. Every importance must
come from students that the forest was not fitted to, over repeated folds, and scikit-learn scores one fitted model. A
test compares the two on data where they should agree.
"""

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
"""Number of control columns: shuffled copies of parameters, drawn again in each repetition."""

_TREES, _LEAF = 100, 3
_KNOTS = 5
_PENALTIES = tuple(10.0**power for power in range(-4, 4))
_SHUFFLES = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors:
    """Squared out-of-fold errors of N students, in squared percentage points; means over repetitions.

    Attributes:
        without_size: Errors of the mean gap of the other folds [N].
        by_size: Errors of the fit on size alone [N].
        by_forest: Errors of the fit on size plus the forest [N].
        shuffled: Errors of the same with one of P parameters shuffled [P, N].
        controls: Errors of the same with one control shuffled [CONTROLS, N].
        residuals: Gap minus the fit on size, percentage points [N].
    """

    without_size: Floats
    by_size: Floats
    by_forest: Floats
    shuffled: Floats
    controls: Floats
    residuals: Floats


def coded(table: pd.DataFrame) -> Floats:
    """Return parameters as numbers [N, P]: text as its alphabetical rank, NaN where missing."""
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
    """Return the errors of repeated K-fold cross-validation.

    For each fold, a ridge-penalised cubic spline of log size is fitted to the other folds, and then a random forest
    (Breiman 2001, Machine Learning 45) to its residuals. Missing values are set to the column's median, so that a
    parameter does not encode whether it applies; family and loss encode that. A parameter is shuffled among the
    students of the fold that it applies to (permutation importance, Breiman 2001, section 10). Log size is also a
    column of the forest, so that the forest takes what the spline leaves of it; its importance is not reported.

    Args:
        logs: Log size [N].
        gaps: Gaps, percentage points [N].
        values: Parameters [N, P]; NaN where one does not apply.
        repetitions: Number of times that the K folds are drawn.
        seed: Seed of folds, forests and shuffles.
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
    """Return the rise of the RMSE through shuffling, in percentage points.

    Args:
        shuffled: Squared errors with shuffling [P, N].
        plain: Squared errors without [N].
        weights: Weights of the students in each resample [R, N]; each row sums to 1.

    Returns:
        Array [R, P].
    """
    base = np.sqrt(weights @ plain)
    return np.asarray(np.sqrt(weights @ shuffled.T) - base[:, None])


def _smooth() -> Pipeline:
    return make_pipeline(SplineTransformer(_KNOTS, knots="quantile", extrapolation="linear"), RidgeCV(_PENALTIES))


def _shuffles(rows: Floats, applies: NDArray[np.bool_], generator: np.random.Generator) -> Floats:
    """Return the rows once per shuffle and column, with that column shuffled among the rows it applies to."""
    count, width = applies.shape
    made = np.broadcast_to(rows, (_SHUFFLES, width, *rows.shape)).copy()
    for turn in range(_SHUFFLES):
        for column in range(width):
            own = np.flatnonzero(applies[:, column])
            made[turn, column, own, column] = rows[generator.permutation(own), column]
    return made.reshape(_SHUFFLES * width * count, -1)
