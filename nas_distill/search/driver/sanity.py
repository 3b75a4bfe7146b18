"""Signs that something is wrong with a training although it ended without an error."""

from __future__ import annotations

from nas_distill.records import TrialRecord, TrialStatus

_EXPLODED_LOSS = 1e6
_CHANCE_FACTOR = 1.1


def warnings_of(record: TrialRecord, *, num_classes: int) -> tuple[str, ...]:
    """Return one sentence per sign that the training of a trial went wrong.

    Args:
        record: Record of an ended trial.
        num_classes: Number of classes.
    """
    found = []
    worst = max((point.train_loss for point in record.curve), default=0.0)
    if worst > _EXPLODED_LOSS:
        found.append(f"trial {record.number}: the training loss reached {worst:.1e}; lower recipe.learning_rate")
    metrics = record.metrics
    if record.status is TrialStatus.COMPLETE and metrics is not None and metrics.top1 <= _CHANCE_FACTOR / num_classes:
        found.append(
            f"trial {record.number}: {100 * metrics.top1:.1f} % top-1 is what guessing among {num_classes} classes "
            "gives; check labels, recipe.learning_rate and recipe.epochs"
        )
    return tuple(found)
