"""Tasks of benchmarks, their results, and the log that keeps finished tasks between runs."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from nas_distill.config import ExecutionConfig
from nas_distill.data.views.plan import ViewPlan
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.base import Record, Share


class Task(Record):
    """One training.

    A task holds everything that decides the training's numbers, except for the code. Its digest is its key in a
    `TaskLog`.

    Attributes:
        student: Student to train.
        recipe: Recipe to train it with.
        seed: Seed of initial weights, image order and dropout.
        data_id: Identifier of images and splits.
        teacher_sha256: SHA-256 digest of the teacher's tensors.
        plan: Augmented views of the images.
        execution: Precision, memory format and attention.
        device: Type of device, such as "cpu".
        online: Whether the teacher runs at every step; if not, its stored outputs are read.
    """

    student: StudentSpec
    recipe: Recipe
    seed: NonNegativeInt
    data_id: str
    teacher_sha256: str
    plan: ViewPlan
    execution: ExecutionConfig
    device: str
    online: bool


class TaskResult(Record, ABC):
    """Result of a task."""

    @abstractmethod
    def summary(self) -> str:
        """Return the result in one line."""


class Result(TaskResult):
    """Validation metrics of a trained student.

    Attributes:
        top1: Accuracy, 0 to 1.
        gap_points: 100 (teacher top-1 - student top-1).
        agreement: Share of images for which student and teacher predict the same class, 0 to 1.
        divergence_nats: Mean KL(teacher || student) after calibration.
        seconds: Wall time of all epochs.
        num_params: Number of parameters of the deployed network, including a teacher's classifier that it reuses.
        nll_nats: Mean negative log-likelihood of the labels after calibration, as in a search; None in older logs.
        ece: Expected calibration error after calibration, 0 to 1; None in older logs.
        uncalibrated_nll_nats: Mean negative log-likelihood of the labels before calibration; None in older logs.
        uncalibrated_ece: Expected calibration error before calibration, 0 to 1; None in older logs.
        released: Classes for which the teacher's loss terms were dropped.
    """

    top1: Share
    gap_points: float
    agreement: Share
    divergence_nats: NonNegativeFloat
    seconds: NonNegativeFloat
    num_params: PositiveInt
    nll_nats: NonNegativeFloat | None = None
    ece: Share | None = None
    uncalibrated_nll_nats: NonNegativeFloat | None = None
    uncalibrated_ece: Share | None = None
    released: tuple[int, ...] = ()

    def summary(self) -> str:
        """Return accuracy and wall time."""
        return f"{100 * self.top1:.2f} % in {self.seconds:.0f} s"


ResultT = TypeVar("ResultT", bound=TaskResult)


class Outcome(Record, Generic[ResultT]):
    """How a task ended.

    Attributes:
        key: Digest of the task.
        commit: Commit of the code that ran it.
        result: Result; None if the task failed.
        error: One-line reason of the failure; empty if the task succeeded.
    """

    key: str
    commit: str
    result: ResultT | None = None
    error: str = ""

    def summary(self) -> str:
        """Return the result in one line, or the reason of the failure."""
        return self.error if self.result is None else self.result.summary()


class TaskLog(Generic[ResultT]):
    """Finished tasks of a benchmark, one line of JSON each.

    Failed tasks are not recorded, so that the next run repeats them.

    Args:
        path: File of the log, created with the first outcome; None keeps outcomes in memory only.
        kind: Type of a line, such as `Outcome[Result]`.
    """

    def __init__(self, path: Path | None, kind: type[Outcome[ResultT]]) -> None:
        self._path = path
        self._found: dict[str, Outcome[ResultT]] = {}
        if path is None or not path.exists():
            return
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                outcome = kind.model_validate_json(line)
            except ValueError:
                print(f"{path}: line {number} is damaged; its task will be repeated", file=sys.stderr)
                continue
            self._found[outcome.key] = outcome

    def get(self, task: Record) -> Outcome[ResultT] | None:
        """Return the outcome of a task; None if it has not finished."""
        return self._found.get(task.digest())

    def add(self, outcome: Outcome[ResultT]) -> None:
        """Record the outcome of a finished task."""
        self._found[outcome.key] = outcome
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if torn else "") + outcome.model_dump_json() + "\n")
