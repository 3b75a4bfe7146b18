"""What the sampler is told of an ended trial. Pure; the record itself is kept whole beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas_distill.config import StoppedTrialValue
from nas_distill.objectives import Objective
from nas_distill.records import TrialRecord, TrialStatus
from nas_distill.search.study.extrapolation import extrapolate


def reported_values(
    record: TrialRecord, objectives: Sequence[Objective], stopped_trial_value: StoppedTrialValue = "failed"
) -> tuple[float, ...] | None:
    """Returns the values that the sampler is told, in the order of the objectives; None tells it of a failure.

    Args:
        record: The ended trial.
        objectives: Of the study.
        stopped_trial_value: `SamplerConfig.stopped_trial_value`. A trial without such a quality in its curve counts
            as failed.

    Raises:
        ValueError: A value is not finite.
    """
    if record.status is TrialStatus.COMPLETE:
        return tuple(objective_value(record, objective) for objective in objectives)
    if record.status is TrialStatus.FAILED or stopped_trial_value == "failed" or not record.curve:
        return None
    values = [_value_when_stopped(record, objective, stopped_trial_value) for objective in objectives]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def objective_value(record: TrialRecord, objective: Objective) -> float:
    """Returns the value of `objective` for a complete trial.

    Raises:
        ValueError: It is not finite.
    """
    source = record.cost if objective.kind == "cost" else record.metrics
    value = float(getattr(source, objective.name))
    if not math.isfinite(value):
        raise ValueError(f"trial {record.number}: {objective.name} is {value}")
    return value


def _value_when_stopped(
    record: TrialRecord, objective: Objective, stopped_trial_value: StoppedTrialValue
) -> float | None:
    if objective.kind == "cost":
        return objective_value(record, objective)
    curve = [getattr(point, objective.name) for point in record.curve]
    if None in curve:
        return None
    if stopped_trial_value == "reached":
        return float(curve[-1])
    minimised = [objective.minimised(float(value)) for value in curve]
    return objective.minimised(extrapolate(minimised, record.recipe.epochs))
