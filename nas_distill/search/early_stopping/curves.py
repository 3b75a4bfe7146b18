"""Early stopping for the driver: learning curves in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nas_distill.analysis.front.arithmetic import coordinates
from nas_distill.config import AshaConfig
from nas_distill.objectives import Objective
from nas_distill.records import Cost, EpochMetrics
from nas_distill.search.early_stopping.asha import Asha, Decision, rung_epochs
from nas_distill.search.early_stopping.rules import NO_RULE, RULES


class EarlyStopper:
    """Decides on the trials of a search by their learning curves.

    Args:
        asha: Decides on coordinates.
        objectives: Objectives of the search, in the order of the coordinates.
    """

    def __init__(self, asha: Asha, objectives: Sequence[Objective]) -> None:
        self._asha = asha
        self._objectives = tuple(objectives)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which weak trials are stopped, ascending."""
        return self._asha.rungs

    def record(self, number: int, cost: Cost, curve: Iterable[EpochMetrics]) -> None:
        """Record a trial's learning curve without a decision.

        Args:
            number: Number of the trial.
            cost: Cost of its student.
            curve: Its learning curve so far.
        """
        for point in curve:
            if point.epoch in self.rungs:
                self._asha.record(number, point.epoch, coordinates_at(point, cost, self._objectives))

    def should_stop(self, number: int, cost: Cost, point: EpochMetrics) -> bool:
        """Record a trial's last epoch and return whether the trial should stop.

        Args:
            number: Number of the trial.
            cost: Cost of its student.
            point: Last point of its learning curve.
        """
        values = coordinates_at(point, cost, self._objectives)
        return self._asha.report(number, point.epoch, values) is Decision.STOP


def make_early_stopper(settings: AshaConfig, *, epochs: int, objectives: Sequence[Objective]) -> EarlyStopper | None:
    """Return the early stopper of a search, or None if it stops no trial.

    Args:
        settings: Section `asha` of the configuration.
        epochs: Number of epochs of a full training.
        objectives: Objectives of the search.

    Raises:
        ConfigError: The rule does not exist, or cannot compare trials by these objectives.
    """
    asha = make_asha(settings, epochs=epochs, objectives=objectives)
    return None if asha is None else EarlyStopper(asha, objectives)


def make_asha(settings: AshaConfig, *, epochs: int, objectives: Sequence[Objective]) -> Asha | None:
    """Return the rungs of a search, or None if there are none; see `make_early_stopper`."""
    if settings.rule == NO_RULE:
        return None
    rungs = settings.rungs or rung_epochs(
        epochs, reduction_factor=settings.reduction_factor, grace_epochs=settings.grace_epochs
    )
    rule = RULES.order(settings.rule, objectives)
    asha = Asha(rungs, settings.reduction_factor, rule, startup_trials=settings.startup_trials)
    return asha if rungs else None


def describe_early_stopping(stopper: EarlyStopper | None, settings: AshaConfig, *, epochs: int) -> str:
    """Return one sentence that says when and by which rule trials are stopped.

    Args:
        stopper: Early stopper that `make_early_stopper` made from the settings.
        settings: Section `asha` of the configuration, with a rule.
        epochs: Number of epochs of a full training.
    """
    if stopper is None:
        count = "1 epoch leaves" if epochs == 1 else f"{epochs} epochs leave"
        return f"no trial is stopped early: {count} no room for a rung (asha.grace_epochs, asha.rungs)"
    *others, last = map(str, stopper.rungs)
    rungs = f"epochs {', '.join(others)} and {last}" if others else f"epoch {last}"
    share = f"about one in {settings.reduction_factor:g} continues"
    if settings.startup_trials:
        share = f"the first {settings.startup_trials} trials continue, and {share} after them"
    return f"weak trials are stopped after {rungs} of {epochs} by rule '{settings.rule}': at each rung, {share}"


def coordinates_at(point: EpochMetrics, cost: Cost, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return a trial's minimised coordinates after an epoch (`analysis.front.arithmetic.coordinates`).

    Args:
        point: Metrics of the epoch.
        cost: Cost of the trial's student.
        objectives: Objectives, in the order of the coordinates.

    Returns:
        One coordinate per objective; NaN where a quality was not measured.
    """
    values = []
    for objective in objectives:
        value = getattr(cost if objective.kind == "cost" else point, objective.name)
        values.append(np.nan if value is None else value)
    arrays = [np.array([value], dtype=np.float64) for value in values]
    return tuple(float(coordinates(a, objective)[0]) for a, objective in zip(arrays, objectives, strict=True))
