"""Tasks of benchmarks, trainings above all: what decides one, what it comes to, and where that is kept."""

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
    """One training: everything that decides its numbers, but for the code; its digest is its key in a `Ledger`.

    Attributes:
        student: What is trained.
        recipe: How.
        seed: Of initial weights, order of images and dropout.
        data_id: Of images and splits.
        teacher_sha256: Of the teacher's tensors.
        plan: The views.
        execution: How the network is run.
        device: Kind of device, such as "cpu".
        online: Whether the teacher is asked at every step.
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


class Found(Record, ABC):
    """What a task came to."""

    @abstractmethod
    def words(self) -> str:
        """Returns the essence."""


class Result(Found):
    """What a trained student is worth, on validation.

    Attributes:
        top1: Accuracy, 0 to 1.
        gap_points: 100 (teacher top-1 - student top-1).
        agreement: Share of images with the teacher's argmax.
        divergence_nats: Mean KL(teacher || student).
        seconds: Of all epochs.
        num_params: Of the network that answers; a teacher's classifier that it answers through included.
        released: Classes for which the teacher's terms were dropped.
    """

    top1: Share
    gap_points: float
    agreement: Share
    divergence_nats: NonNegativeFloat
    seconds: NonNegativeFloat
    num_params: PositiveInt
    released: tuple[int, ...] = ()

    def words(self) -> str:
        """Returns accuracy and seconds."""
        return f"{100 * self.top1:.2f} % in {self.seconds:.0f} s"


ResultT = TypeVar("ResultT", bound=Found)


class Outcome(Record, Generic[ResultT]):
    """How a task ended.

    Attributes:
        key: The task's digest.
        commit: Of the code.
        result: None when it failed.
        error: Why it failed, one line; empty when it did not.
    """

    key: str
    commit: str
    result: ResultT | None = None
    error: str = ""

    def words(self) -> str:
        """Returns what it came to, or why it failed."""
        return self.error if self.result is None else self.result.words()


class Ledger(Generic[ResultT]):
    """The finished tasks of a benchmark, one line of JSON each; with no path none are kept.

    Failed ones are not kept: they are tried again.

    Args:
        path: Made when the first is added.
        kind: What a line holds, such as `Outcome[Result]`.
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
                print(f"{path}: line {number} is damaged; its task is done again", file=sys.stderr)
                continue
            self._found[outcome.key] = outcome

    def get(self, task: Record) -> Outcome[ResultT] | None:
        """Returns how the task ended, or None when it has not."""
        return self._found.get(task.digest())

    def add(self, outcome: Outcome[ResultT]) -> None:
        """Keeps a finished task."""
        self._found[outcome.key] = outcome
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if torn else "") + outcome.model_dump_json() + "\n")
