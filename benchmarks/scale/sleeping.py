"""A trainable whose trials sleep instead of training; it does not import torch.

It writes the same files as the real one (curve and checkpoint at intervals, record at the end), reports in the same way
and resumes from a checkpoint. The gap is a function of the candidate's size and the epoch.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_distill.records import EpochMetrics, ExecutionInfo, StudentMetrics, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.base import parse_record
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.search.backend.protocol import EPOCH, TASK, ReportingTrainable

DEVICE = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Duration of trials.

    Attributes:
        epoch_s: Mean seconds per epoch.
        spread: The duration of a trial varies by this factor, from `1 - spread` to `1 + spread`.
        checkpoint_every: Epochs between two checkpoints.
    """

    epoch_s: float
    spread: float = 0.0
    checkpoint_every: int = 1


def gap_after(num_params: int, epoch: int) -> float:
    """Return the gap of a student of this size after an epoch, in percentage points."""
    return 60.0 * math.pow(num_params / 1000.0, -0.4) + 30.0 / epoch


class SleepingTrainable(ReportingTrainable):
    """Sleep through one trial after another."""

    def setup(self, config: dict[str, Any], run: str, sleep: Sleep, rungs: tuple[int, ...] = ()) -> None:
        """Open the run."""
        self._run, self._sleep, self.rungs = RunDirectory(Path(run)), sleep, rungs
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """See `ReportingTrainable`."""
        self._task = parse_record(TrialTask, config[TASK], origin="task")
        self._folder = self._run.trial(self._task.number)
        self._folder.path.mkdir(parents=True, exist_ok=True)
        turn = random.Random(self._task.seed).uniform(-1.0, 1.0)
        self._epoch_s = self._sleep.epoch_s * (1.0 + self._sleep.spread * turn)
        done = json.loads(self._folder.checkpoint.read_text()) if self._folder.checkpoint.exists() else 0
        self._curve = list(self._folder.read_curve()[:done])
        self._log({"started_at": time.time(), "torch": "torch" in sys.modules})

    def advance(self) -> int:
        """Sleep for one epoch, and end the trial after its last."""
        time.sleep(self._epoch_s)
        epoch = len(self._curve) + 1
        self._log({EPOCH: epoch})
        self._curve.append(point_after(self._task.cost.num_params, epoch, self._epoch_s))
        if self.has_ended:
            self._end()
        elif epoch % self._sleep.checkpoint_every == 0:
            self._folder.write_curve(self._curve)
            write_text(self._folder.checkpoint, json.dumps(epoch))
        return epoch

    def account(self) -> str:
        """See `ReportingTrainable`."""
        self._folder.write_curve(self._curve)
        return ExecutionInfo(device=DEVICE).model_dump_json()

    @property
    def has_ended(self) -> bool:
        """See `ReportingTrainable`."""
        return len(self._curve) >= self._task.recipe.epochs

    def _log(self, facts: dict[str, Any]) -> None:
        with log_of(self._folder).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")

    def _end(self) -> None:
        self._log({"ended_at": time.time()})
        end_trial(self._folder, complete_record(self._task, self._curve))


def point_after(num_params: int, epoch: int, seconds: float) -> EpochMetrics:
    """Return the point of the learning curve of a student of this size."""
    return EpochMetrics(
        epoch=epoch,
        train_loss=0.0,
        loss_parts={},
        learning_rate=0.0,
        top1=0.0,
        nll_nats=0.0,
        gap_points=gap_after(num_params, epoch),
        divergence_nats=0.0,
        wall_time_s=seconds,
    )


def complete_record(task: TrialTask, curve: Sequence[EpochMetrics]) -> TrialRecord:
    """Return the record of a trial that slept to its end; values that are not simulated are 0 or empty."""
    gap = curve[-1].gap_points
    assert gap is not None
    metrics = StudentMetrics(
        top1=0.0, nll_nats=0.0, gap_points=gap, agreement=0.0, divergence_nats=0.0, train_top1=0.0, train_agreement=0.0,
        train_divergence_nats=0.0, generalisation_gap_points=0.0, capacity_ratio=1.0, class_gap_points=(),
        class_counts=(),
    )  # fmt: skip
    outcome = TrialOutcome(status=TrialStatus.COMPLETE, curve=tuple(curve), metrics=metrics)
    return TrialRecord(task=task, execution=ExecutionInfo(device=DEVICE), outcome=outcome)


def log_of(folder: TrialFolder) -> Path:
    """Return the file in which the workers of a trial log their actions, one line of JSON each."""
    return folder.path / "sleeping.jsonl"


def read_log(folder: TrialFolder) -> list[dict[str, Any]]:
    """Return the logged actions of all workers of a trial in order; empty if none has started."""
    path = log_of(folder)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
