"""The folder of one trial: its paths and records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_distill.records import EpochMetrics, TrialRecord, TrialResult, TrialTask
from nas_distill.records.base import parse_sealed, seal
from nas_distill.run_directory.files import read_record, reading, write_record, write_text


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """`trials/NNNNN/`: the write-ahead log of one trial, written by its worker."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Training state after a finished epoch, written periodically."""
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def weights(self) -> Path:
        """Weights of the student that is kept."""
        return self.path / "student.safetensors"

    @property
    def interface(self) -> Path:
        """What is needed to call the student (`StudentInterface`), written next to the weights."""
        return self.path / "student.json"

    @property
    def task(self) -> Path:
        """The trial's task, written first."""
        return self.path / "task.json"

    @property
    def result(self) -> Path:
        """How the trial ran and ended, written last."""
        return self.path / "result.json"

    @property
    def curve(self) -> Path:
        """One line of JSON per epoch, written before each checkpoint."""
        return self.path / "epochs.jsonl"

    def write_curve(self, curve: Sequence[EpochMetrics]) -> None:
        """Write the learning curve so far.

        Raises:
            RunError: The file cannot be written.
        """
        write_text(self.curve, "".join(seal(point) + "\n" for point in curve))

    def read_curve(self) -> tuple[EpochMetrics, ...]:
        """Return the learning curve so far; empty when no epoch was finished.

        Raises:
            RunError: The file is damaged or cannot be read.
        """
        with reading(self.curve):
            # As bytes: the parser reports damage, and only a line feed ends a line.
            lines = self.curve.read_bytes().splitlines() if self.curve.exists() else []
        return tuple(
            parse_sealed(EpochMetrics, line, origin=f"{self.curve}:{number}") for number, line in enumerate(lines, 1)
        )

    def read_result(self) -> TrialResult | None:
        """Return the trial's result, or None when the trial has not ended.

        Raises:
            RunError: The result is damaged, cannot be read, or was written by another version.
        """
        with reading(self.result):
            return read_record(self.result, TrialResult) if self.result.exists() else None

    def read_record(self) -> TrialRecord | None:
        """Return the trial's record, or None when the trial has not ended.

        Raises:
            RunError: Task or result is missing, damaged or unreadable, was written by another version, or the two do
                not belong together.
        """
        result = self.read_result()
        if result is None:
            return None
        return TrialRecord.compose(read_record(self.task, TrialTask), result, origin=str(self.result))

    def write_record(self, record: TrialRecord) -> None:
        """Write task and result of an ended trial.

        Raises:
            RunError: The folder cannot be written.
        """
        write_record(self.task, record.task)
        write_record(self.result, record.result())
