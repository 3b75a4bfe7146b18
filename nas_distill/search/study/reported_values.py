"""The values that are reported to the sampler for an ended trial. Pure functions."""

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
    """Return the values that are reported to the sampler, in the order of the objectives, or None for a failure.

    Args:
        record: Record of the ended trial.
        objectives: Objectives of the study.
        stopped_trial_value: Value for a stopped trial (`SamplerConfig.stopped_trial_value`). A stopped trial whose
            curve lacks an objective counts as failed.

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
    """Return the value of `objective` for a complete trial.

    Raises:
        ValueError: The value is not finite.
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
