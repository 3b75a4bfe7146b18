"""Early stopping as the driver sees it: learning curves in, decisions out. No Ray."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nas_distill.analysis.front.arithmetic import coordinates
from nas_distill.config import AshaConfig
from nas_distill.objectives import Objective
from nas_distill.records import Cost, EpochMetrics
from nas_distill.search.early_stopping.asha import Asha, Decision, rung_epochs
from nas_distill.search.early_stopping.rules import NO_RULE, RULES


class Stopping:
    """Decides on the trials of a search by their learning curves.

    Args:
        asha: Decides on coordinates.
        objectives: What they are.
    """

    def __init__(self, asha: Asha, objectives: Sequence[Objective]) -> None:
        self._asha = asha
        self._objectives = tuple(objectives)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which weak trials are stopped, ascending."""
        return self._asha.rungs

    def note(self, number: int, cost: Cost, curve: Iterable[EpochMetrics]) -> None:
        """Notes how far a trial has come, without deciding on it.

        Args:
            number: The trial's.
            cost: What its student costs.
            curve: Its learning curve so far.
        """
        for point in curve:
            if point.epoch in self.rungs:
                self._asha.note(number, point.epoch, coordinates_at(point, cost, self._objectives))

    def goes_on(self, number: int, cost: Cost, point: EpochMetrics) -> bool:
        """Decides on a trial.

        Args:
            number: The trial's.
            cost: What its student costs.
            point: The last of its learning curve.
        """
        values = coordinates_at(point, cost, self._objectives)
        return self._asha.report(number, point.epoch, values) is Decision.GO_ON


def make_stopping(settings: AshaConfig, *, epochs: int, objectives: Sequence[Objective]) -> Stopping | None:
    """Returns what stops weak trials early; None when nothing does.

    Args:
        settings: How.
        epochs: Of a full training.
        objectives: Of the search.

    Raises:
        ConfigError: There is no such rule, or it cannot compare trials with these objectives.
    """
    if settings.rule == NO_RULE:
        return None
    rungs = settings.rungs or rung_epochs(
        epochs, reduction_factor=settings.reduction_factor, grace_epochs=settings.grace_epochs
    )
    asha = Asha(rungs, settings.reduction_factor, RULES.order(settings.rule, objectives))
    return Stopping(asha, objectives) if rungs else None


def describe_stopping(stopping: Stopping | None, settings: AshaConfig, *, epochs: int) -> str:
    """Returns what to expect of a rule, as one sentence."""
    if stopping is None:
        count = "1 epoch leaves" if epochs == 1 else f"{epochs} epochs leave"
        return f"no trial is stopped early: {count} no room for a rung (asha.grace_epochs, asha.rungs)"
    *others, last = map(str, stopping.rungs)
    rungs = f"epochs {', '.join(others)} and {last}" if others else f"epoch {last}"
    return (
        f"weak trials are stopped after {rungs} of {epochs} by rule '{settings.rule}': at each rung about one in "
        f"{settings.reduction_factor:g} goes on"
    )


def coordinates_at(point: EpochMetrics, cost: Cost, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Returns where a trial stands after an epoch, as minimised coordinates (`analysis.pareto.axes`).

    A quality that was not measured is NaN.
    """
    values = []
    for objective in objectives:
        value = getattr(cost if objective.kind == "cost" else point, objective.name)
        values.append(np.nan if value is None else value)
    arrays = [np.array([value], dtype=np.float64) for value in values]
    return tuple(float(coordinates(a, objective)[0]) for a, objective in zip(arrays, objectives, strict=True))
