"""Asynchronous successive halving for several objectives: decides which trials stop at which epochs.

Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization"
(arXiv 1502.07943); Li et al. 2020, "A system for massively parallel hyperparameter tuning" (ASHA, arXiv 1810.05934),
in the variant that stops trials instead of pausing them; Schmucker et al. 2021, "Multi-objective asynchronous
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
    """Decision on a trial that has reported its metrics."""

    CONTINUE = "continue"
    STOP = "stop"


def rung_epochs(epochs: int, *, reduction_factor: float, grace_epochs: int | None = None) -> tuple[int, ...]:
    """Return the rungs: `epochs` / `reduction_factor`^k for k = 1, 2, ..., rounded, in ascending order.

    Args:
        epochs: Number of epochs of a full training.
        reduction_factor: Factor between rungs, above 1.
        grace_epochs: Smallest rung. Default: a tenth of `epochs`, rounded up.

    Returns:
        Distinct epochs between `grace_epochs` and `epochs` - 1; empty if there is no room for a rung.
    """
    grace = max(1, math.ceil(epochs / 10) if grace_epochs is None else grace_epochs)
    found: set[int] = set()
    exact = epochs / reduction_factor
    while round(exact) >= grace:
        found.add(round(exact))
        exact /= reduction_factor
    return tuple(sorted(found - {epochs}))


class Asha:
    """The rungs of a search and the metrics that each trial reported there.

    A trial that reports at a rung continues if fewer than n / `reduction_factor` of the n entries there, its own
    included, are strictly better by the rule. Therefore the first trial at a rung always continues, equal entries get
    equal decisions in any order of arrival, and of many trials in random order one in `reduction_factor` continues.
    With startup trials, the first trials at a rung continue whatever they report, so that a short search is left with
    some students.

    Args:
        rungs: Epochs in ascending order; see `rung_epochs`.
        reduction_factor: Inverse of the share of trials that continue, above 1.
        rule: Comparison of the entries at a rung, such as `RULES.order("layers", objectives)`.
        startup_trials: Number of trials that continue at a rung before any is stopped there; the first always does.

    Raises:
        ValueError: The rungs do not ascend from 1 or higher, or the factor is not above 1.
    """

    def __init__(
        self, rungs: Sequence[int], reduction_factor: float, rule: RungOrder, *, startup_trials: int = 0
    ) -> None:
        if any(epoch < 1 for epoch in rungs) or any(low >= high for low, high in pairwise(rungs)):
            raise ValueError(f"rungs must be ascending epochs of at least 1; got {tuple(rungs)}")
        if not reduction_factor > 1.0:
            raise ValueError(f"reduction_factor must be above 1; got {reduction_factor}")
        self._factor = reduction_factor
        self._rule = rule
        self._startup_trials = startup_trials
        self._entries: dict[int, dict[int, tuple[float, ...]]] = {epoch: {} for epoch in rungs}

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs of the rungs, ascending."""
        return tuple(self._entries)

    def entries(self, epoch: int) -> dict[int, tuple[float, ...]]:
        """Return the coordinates reported at a rung, by trial number; empty if the epoch is not a rung."""
        return dict(self._entries.get(epoch, {}))

    def record(self, number: int, epoch: int, values: Sequence[float]) -> None:
        """Record a trial's report without a decision. A trial's second report at a rung is ignored.

        Args:
            number: Number of the trial.
            epoch: Epochs trained; ignored if it is not a rung.
            values: Minimised coordinates of all objectives, costs as log10 (`analysis.front.arithmetic.coordinates`);
                ignored if one is NaN or infinite.
        """
        rung = self._entries.get(epoch)
        if rung is not None and all(map(math.isfinite, values)):
            rung.setdefault(number, tuple(map(float, values)))

    def report(self, number: int, epoch: int, values: Sequence[float]) -> Decision:
        """Record a trial's report and decide whether the trial continues.

        Args:
            number: Number of the trial.
            epoch: Epochs trained; every trial continues at an epoch that is not a rung.
            values: As for `record`. A trial with a NaN or infinite value at a rung is stopped. If the trial has
                reported at this rung before, the earlier report counts.
        """
        rung = self._entries.get(epoch)
        if rung is None:
            return Decision.CONTINUE
        self.record(number, epoch, values)
        if number not in rung:
            return Decision.STOP
        if list(rung).index(number) < self._startup_trials:
            return Decision.CONTINUE
        enough = math.ceil(len(rung) / self._factor)
        better = self._rule(np.array(list(rung.values())), list(rung).index(number), enough)
        return Decision.CONTINUE if better < enough else Decision.STOP
