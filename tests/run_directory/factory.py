"""Records of a run directory, and the check of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas_distill.errors import RunError
from nas_distill.records import (
    Cost,
    EpochMetrics,
    ExecutionInfo,
    Recipe,
    StudentSpec,
    TrialOutcome,
    TrialRecord,
    TrialStatus,
    TrialTask,
)


def make_epoch(epoch: int = 1) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch, train_loss=1.0, loss_parts={"label": 1.0}, learning_rate=0.1, top1=0.5, nll_nats=1.0,
        wall_time_s=1.0,
    )  # fmt: skip


def make_trial(number: int = 0) -> TrialRecord:
    task = TrialTask(
        number=number,
        seed=0,
        spec=StudentSpec(architecture="resnet18"),
        recipe=Recipe(),
        cost=Cost(num_params=1, macs=1, size_bytes=4),
    )
    outcome = TrialOutcome(status=TrialStatus.STOPPED, curve=(make_epoch(),))
    return TrialRecord(task=task, execution=ExecutionInfo(device="cpu"), outcome=outcome)


@contextmanager
def assert_run_error(code: str, field: Path | str) -> Iterator[None]:
    with pytest.raises(RunError) as caught:
        yield
    assert (caught.value.code, caught.value.field) == (code, str(field))
