"""How well the value at a rung predicts the final value: Kendall's tau over the trainings of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from benchmarks.search_quality.curve_table import CurveTable, Row
from benchmarks.search_quality.mapping import RowMap, describe

EVALUATED, RAW = "gap_points", "raw_gap_points"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCorrelation:
    """Kendall's tau-b between the gap at an epoch and a final gap.

    Attributes:
        epoch: Number of epochs trained.
        averaged: Moving average, against its own final value.
        raw: Raw weights, against their own final value.
        raw_to_averaged: Raw weights, against the final value of the moving average, which a search uses.
        everything: Value that a search uses, with or without a moving average, over all trainings.
    """

    epoch: int
    averaged: float
    raw: float
    raw_to_averaged: float
    everything: float


def rank_correlations(table: CurveTable, epochs: Sequence[int]) -> tuple[list[RankCorrelation], int, int]:
    """Return the rank correlations at some epochs, the number of trainings with a moving average, and of all trainings.

    Only first replicates that did not fail are used. All values except `everything` use trainings with a moving
    average only; for the others, both kinds of weights are the same.
    """
    rows = [row for row in table.rows if row.replicate == 0 and not row.error]
    averaging = [row for row in rows if row.recipe.ema_decay > 0]
    found = [
        RankCorrelation(
            epoch=epoch,
            averaged=_tau(averaging, (EVALUATED, epoch), (EVALUATED, table.epochs)),
            raw=_tau(averaging, (RAW, epoch), (RAW, table.epochs)),
            raw_to_averaged=_tau(averaging, (RAW, epoch), (EVALUATED, table.epochs)),
            everything=_tau(rows, (EVALUATED, epoch), (EVALUATED, table.epochs)),
        )
        for epoch in epochs
    ]
    return found, len(averaging), len(rows)


def seed_correlation(table: CurveTable) -> tuple[float, int]:
    """Return Kendall's tau-b between the final gaps of two seeds, an upper bound for rungs, and the number of pairs."""
    finals: dict[int, dict[int, float]] = {}
    for row in table.rows:
        if not row.error:
            finals.setdefault(row.candidate, {})[row.replicate] = float(row.curves[EVALUATED][-1])
    pairs = [(found[0], found[1]) for found in finals.values() if {0, 1} <= set(found)]
    if len(pairs) < 2:
        return float("nan"), len(pairs)
    first, second = zip(*pairs, strict=True)
    return float(kendalltau(first, second).statistic), len(pairs)


def neighbour_correlation(table: CurveTable) -> float:
    """Return Kendall's tau-b between the final gaps of each candidate and of its nearest neighbour.

    It shows how much a sampler can learn from rows that only resemble its proposals.
    """
    rows = [row for row in table.rows if row.replicate == 0 and not row.error]
    found = RowMap(rows)
    nearest = []
    for index, row in enumerate(rows):
        others = np.ones(len(rows), dtype=np.bool_)
        others[index] = False
        neighbour = found.nearest(describe(row.spec, row.recipe, row.cost), others)
        assert neighbour is not None
        nearest.append(rows[neighbour].curves[EVALUATED][-1])
    return float(kendalltau([row.curves[EVALUATED][-1] for row in rows], nearest).statistic)


def _tau(rows: Sequence[Row], one: tuple[str, int], other: tuple[str, int]) -> float:
    columns = [[row.curves[name][epoch - 1] for row in rows] for name, epoch in (one, other)]
    return float(kendalltau(*columns).statistic)
