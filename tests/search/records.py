"""Made-up records of trials."""

from __future__ import annotations

from nas_distill.records import StudentMetrics, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.task import TrialTask


def complete(task: TrialTask, gap: float = 1.5) -> TrialRecord:
    """Return the record of a fully trained trial with a given capacity gap."""
    metrics = StudentMetrics(
        top1=0.9, nll_nats=0.3, gap_points=gap, agreement=0.9, divergence_nats=0.1, train_top1=0.95,
        train_agreement=0.95, train_divergence_nats=0.05, generalisation_gap_points=5.0, capacity_ratio=0.1,
        class_gap_points=(gap,), class_counts=(10,),
    )  # fmt: skip
    return TrialRecord(task=task, outcome=TrialOutcome(status=TrialStatus.COMPLETE, metrics=metrics))
