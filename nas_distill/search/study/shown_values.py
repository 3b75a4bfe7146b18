"""Plain values of a trial that optuna-dashboard shows and sorts by; its records are JSON, which it shows as text."""

from __future__ import annotations

from nas_distill.records import TrialRecord, TrialTask


def shown_of_task(task: TrialTask) -> dict[str, str | int | float]:
    """Return the candidate's plain values, by name of the user attribute."""
    return {"family": task.spec.family, "num_params": task.cost.num_params, "macs": task.cost.macs}


def shown_of_record(record: TrialRecord) -> dict[str, str | int | float]:
    """Return the result's plain values, by name of the user attribute."""
    shown: dict[str, str | int | float] = {"status": record.status.value, "epochs": record.epochs}
    if record.metrics is not None:
        shown |= {"top1": record.metrics.top1, "gap_points": record.metrics.gap_points}
    return shown
