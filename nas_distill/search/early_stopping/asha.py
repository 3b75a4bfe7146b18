"""Asynchronous successive halving for several objectives: which trials stop at which epochs. Plain decisions.

Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization"
(arXiv 1502.07943); Li et al. 2020, "A system for massively parallel hyperparameter tuning" (ASHA, arXiv 1810.05934),
in the variant that stops trials rather than pausing them; Schmucker et al. 2021, "Multi-objective asynchronous
successive halving" (arXiv 2106.12639).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

import numpy as np

from nas_distill.search.early_stopping.rules import RungOrder


class Decision(Enum):
    """What becomes of a trial that has reported."""

    GO_ON = "go on"
    STOP = "stop"


def rung_epochs(epochs: int, *, reduction_factor: float, grace_epochs: int | None = None) -> tuple[int, ...]:
    """Returns the epochs after which weak trials are stopped: `epochs` / `reduction_factor`^k, rounded, ascending.

    Args:
        epochs: Of a full training.
        reduction_factor: Above 1.
        grace_epochs: No trial is stopped before; a tenth of the epochs, rounded up, by default.

    Returns:
        Distinct epochs from `grace_epochs` on, all below `epochs`; none when there is no room.
    """
    grace = max(1, math.ceil(epochs / 10) if grace_epochs is None else grace_epochs)
    found: set[int] = set()
    exact = epochs / reduction_factor
    while round(exact) >= grace:
        found.add(round(exact))
        exact /= reduction_factor
    return tuple(sorted(found - {epochs}))


class Asha:
    """The rungs of a search, and what every trial reported there.

    A trial that reports at a rung goes on when fewer than n / `reduction_factor` of the n entries there, itself
    included, are strictly better by the rule. So the first to arrive goes on, equal entries have an equal fate in
    whatever order they arrive, and of many that arrive in no particular order one in `reduction_factor` goes on.

    Args:
        rungs: Epochs, ascending, see `rung_epochs`.
        reduction_factor: Above 1.
        rule: How entries are compared, such as `RULES.order("layers", objectives)`.

    Raises:
        ValueError: The rungs do not ascend from 1 on, or the factor is not above 1.
    """

    def __init__(self, rungs: Sequence[int], reduction_factor: float, rule: RungOrder) -> None:
        if any(epoch < 1 for epoch in rungs) or any(low >= high for low, high in pairwise(rungs)):
            raise ValueError(f"the rungs {tuple(rungs)} do not ascend from 1 on")
        if not reduction_factor > 1.0:
            raise ValueError(f"the reduction factor {reduction_factor} is not above 1")
        self._factor = reduction_factor
        self._rule = rule
        self._entries: dict[int, dict[int, tuple[float, ...]]] = {epoch: {} for epoch in rungs}

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs, ascending."""
        return tuple(self._entries)

    def entries(self, epoch: int) -> dict[int, tuple[float, ...]]:
        """Returns what was reported at a rung, by trial; nothing at an epoch that is none."""
        return dict(self._entries.get(epoch, {}))

    def note(self, number: int, epoch: int, values: Sequence[float]) -> None:
        """Notes what a trial reported, without deciding on it; a second report at a rung changes nothing.

        Args:
            number: The trial's.
            epoch: Epochs trained; nothing is noted of one that is no rung.
            values: Minimised coordinates of all objectives, costs as log10 (`analysis.pareto.axes`); nothing is noted
                of one that holds a NaN or an infinity.
        """
        rung = self._entries.get(epoch)
        if rung is not None and all(map(math.isfinite, values)):
            rung.setdefault(number, tuple(map(float, values)))

    def report(self, number: int, epoch: int, values: Sequence[float]) -> Decision:
        """Notes what a trial reports, and decides on it.

        Args:
            number: The trial's.
            epoch: Epochs trained; at an epoch that is no rung every trial goes on.
            values: As for `note`; a NaN or an infinity at a rung stops the trial. Of a trial that has reported at the
                rung before, what it reported then counts.
        """
        rung = self._entries.get(epoch)
        if rung is None:
            return Decision.GO_ON
        self.note(number, epoch, values)
        if number not in rung:
            return Decision.STOP
        enough = math.ceil(len(rung) / self._factor)
        better = self._rule(np.array(list(rung.values())), list(rung).index(number), enough)
        return Decision.GO_ON if better < enough else Decision.STOP
