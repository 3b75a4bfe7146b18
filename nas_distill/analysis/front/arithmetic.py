"""Pareto arithmetic on arrays: values are minimised, equal rows stay together, rows with NaN are never on a front."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.objectives import Objective
from nas_distill.records import TeacherRecord

Floats = NDArray[np.float64]


def axes(frame: pd.DataFrame, objectives: Sequence[Objective]) -> Floats:
    """Return the objectives of a table of trials as minimised coordinates.

    Args:
        frame: Table of N rows with one column per objective.
        objectives: M objectives. Maximised ones are negated. Those on a log10 scale are returned as log10 of at least
            1, so that a network without multiply-accumulates has a finite coordinate.

    Returns:
        Array [N, M]; NaN where a value is missing.
    """
    columns = [
        coordinates(frame[objective.name].to_numpy(dtype=np.float64, na_value=np.nan), objective)
        for objective in objectives
    ]
    return np.column_stack(columns)


def coordinates(values: Floats, objective: Objective) -> Floats:
    """Return values of one objective, given in its own unit, as minimised coordinates (see `axes`)."""
    if objective.scale == "log10":
        values = np.log10(np.maximum(values, objective.smallest))
    return -values if objective.direction == "maximize" else values


def from_coordinates(coordinates: Floats, objective: Objective) -> Floats:
    """Return minimised coordinates of one objective as values in its own unit: the inverse of `coordinates`."""
    values = -coordinates if objective.direction == "maximize" else coordinates
    if objective.scale == "log10":
        values = np.round(10.0**values) if objective.is_count else 10.0**values
    return values


def reference_point(teacher: TeacherRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the reference point of the hypervolume, in the objectives' own units.

    It depends only on the teacher and the data, so hypervolumes of searches with the same teacher, data and objectives
    can be compared. Its costs are the teacher's. Its qualities are those of a student that guesses uniformly among the
    C classes: top-1 and agreement 1/C, negative log-likelihood ln C, and divergence from the teacher ln C, an upper
    bound of ln C minus the teacher's entropy.

    Args:
        teacher: Record of the teacher.
        objectives: M objectives.
    """
    classes = len(teacher.class_names)
    chance = 1.0 / classes
    worst = {
        "gap_points": 100.0 * (teacher.top1 - chance),
        "int8_gap_points": 100.0 * (teacher.top1 - chance),
        "divergence_nats": float(np.log(classes)),
        "nll_nats": float(np.log(classes)),
        "agreement": chance,
        **teacher.cost.model_dump(exclude_none=True),
    }
    return tuple(
        float(worst[objective.name]) if objective.reference is None else objective.reference for objective in objectives
    )


def non_dominated_mask(values: Floats) -> NDArray[np.bool_]:
    """Mark the rows that no other row dominates.

    A row dominates another if it is nowhere larger and somewhere smaller. Equal rows do not dominate each other, so
    ties stay.

    Args:
        values: Minimised values [N, M].

    Returns:
        Mask [N]; False for rows with a NaN, which do not dominate any row either.
    """
    values = _matrix(values)
    known = ~np.isnan(values).any(axis=1)
    mask = np.zeros(len(values), dtype=np.bool_)
    if known.any():
        mask[known] = moocore.is_nondominated(values[known], keep_weakly=True)
    return mask


def hypervolume(values: Floats, reference: Sequence[float] | Floats) -> float:
    """Return the volume that a set of rows dominates, bounded by a reference point.

    Args:
        values: Minimised values [N, M]. Rows with NaN and rows outside the reference add nothing.
        reference: Reference point, the upper corner [M].

    Returns:
        Volume in the product of the axes' units; 0 for an empty set.
    """
    known = known_rows(values)
    return float(moocore.hypervolume(known, ref=np.asarray(reference, dtype=np.float64))) if len(known) else 0.0


def knee_index(values: Floats) -> int:
    """Return the index of the knee of a front, its best trade-off.

    The knee is the row farthest below the hyperplane (the chord, for two objectives) through the front's extreme
    points, after each objective is scaled to [0, 1] over the front (Das 1999, "On characterizing the 'knee' of the
    Pareto curve based on normal-boundary intersection", Structural Optimization 18; Branke et al. 2004, "Finding knees
    in multi-objective optimization", PPSN VIII). With three or more objectives the extreme points may not span a
    hyperplane that faces the ideal point; the hyperplane with equal weights then replaces it. Of rows at equal
    distance, for example both rows of a front of two, the best by the first objective is returned, then by the next.

    Args:
        values: Minimised values of a front [N, M], N at least 1, finite. Take logarithms first where ratios matter.

    Raises:
        ValueError: There is no row, or a row has a NaN or an infinity.
    """
    values = _matrix(values)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a knee needs at least one row and finite values")
    low = values.min(axis=0)
    span = values.max(axis=0) - low
    scaled = (values - low) / np.where(span > 0.0, span, 1.0)
    depth = -(scaled @ _facing_normal(scaled))
    # Rounded, so that floating-point noise does not choose among rows on the chord.
    order = np.lexsort((*values.T[::-1], -np.round(depth, 12)))
    return int(order[0])


def _facing_normal(scaled: Floats) -> Floats:
    """Return the unit normal [M], pointing away from the ideal point, of the hyperplane through the extreme points."""
    width = scaled.shape[1]
    equal = np.full(width, width**-0.5)
    # An extreme point is best in one objective and, among ties, best in the sum of all.
    extremes = np.array([scaled[np.lexsort((scaled.sum(axis=1), scaled[:, axis]))[0]] for axis in range(width)])
    if np.linalg.matrix_rank(extremes) < width:
        return equal
    normal: Floats = np.linalg.solve(extremes, np.ones(width))
    return normal / np.linalg.norm(normal) if (normal > 0.0).all() else equal


def known_rows(values: Floats) -> Floats:
    """Return the rows of `values` [N, M] without NaN."""
    values = _matrix(values)
    return values[~np.isnan(values).any(axis=1)]


def _matrix(values: Floats) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"values have shape {values.shape}; pass one row per point and one column per objective")
    return values
