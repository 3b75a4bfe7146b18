"""The record of a trial: its task, how it ran and how it ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nas_distill.errors import RunError
from nas_distill.records.base import FrozenFloats, Record, Share
from nas_distill.records.calibration import Calibration
from nas_distill.records.cost import Cost
from nas_distill.records.execution import ExecutionInfo
from nas_distill.records.recipe import Recipe
from nas_distill.records.student import StudentSpec
from nas_distill.records.task import Confirmation, Fold, TrialTask


class EpochMetrics(Record):
    """One point of a learning curve, before calibration.

    The columns that compare with a teacher are None when the teacher is trained.

    Attributes:
        epoch: Number of finished epochs, from 1.
        train_loss: Mean weighted training loss of the epoch.
        loss_parts: Mean of each named loss part before weighting; `label` is cross-entropy with the labels.
        learning_rate: Learning rate at the last step of the epoch.
        top1: Validation accuracy of the evaluated weights, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels on validation, nats.
        gap_points: 100 (teacher top-1 - student top-1), percentage points; negative when the student is better.
        agreement: Share of validation images on which student and teacher have the same argmax, 0 to 1.
        divergence_nats: Mean KL(teacher || student) at temperature 1, nats.
        wall_time_s: Duration of the epoch including evaluation, seconds.
    """

    epoch: PositiveInt
    train_loss: float
    loss_parts: FrozenFloats
    learning_rate: NonNegativeFloat
    top1: Share
    nll_nats: NonNegativeFloat
    gap_points: float | None = None
    agreement: Share | None = None
    divergence_nats: NonNegativeFloat | None = None
    wall_time_s: NonNegativeFloat


class StudentMetrics(Record):
    """Metrics of a trained student, measured on validation unless the name says train.

    Likelihood, divergences and calibration error are those of the calibrated student (`calibration`). Accuracies and
    agreements do not depend on the calibration.

    Attributes:
        top1: Accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels, nats.
        gap_points: 100 (teacher top-1 - student top-1), percentage points; never clamped.
        agreement: Share of images on which student and teacher have the same argmax (Stanton et al. 2021, arXiv
            2106.05945), 0 to 1.
        divergence_nats: Mean KL(teacher || student) at temperature 1, nats.
        train_top1: Accuracy on a fixed subset of the training images, in eval mode, without augmentation.
        train_agreement: Agreement on that subset.
        train_divergence_nats: Divergence on that subset, nats.
        generalisation_gap_points: 100 (train_top1 - top1), percentage points.
        capacity_ratio: Parameters of the student / parameters of the teacher.
        class_gap_points: Gap per class, in the order of the data's classes; None for a class without images.
        class_counts: Validation images per class.
        ece: Expected calibration error of the predicted class's probability, 15 bins of equal width (Guo et al. 2017,
            arXiv 1706.04599, equation 3), 0 to 1; None when it was not measured.
        ece_noise: Calibration error that a perfectly calibrated student with these probabilities exceeds on so many
            images with a probability of 5 % (`train.metrics.ece_noise`), 0 to 1; None when it was not measured.
        calibration: How the probabilities were calibrated; None when they were not.
        feature_cka: Linear CKA of the penultimate features of teacher and student (Kornblith et al. 2019, arXiv
            1905.00414, equation 5), 0 to 1, over at most 4,096 evenly spaced images. None when one of the networks
            has no such features, when they are constant, and for folds and test images.
    """

    top1: Share
    nll_nats: NonNegativeFloat
    gap_points: float
    agreement: Share
    divergence_nats: NonNegativeFloat
    train_top1: Share
    train_agreement: Share
    train_divergence_nats: NonNegativeFloat
    generalisation_gap_points: float
    capacity_ratio: PositiveFloat
    class_gap_points: tuple[float | None, ...]
    class_counts: tuple[NonNegativeInt, ...]
    ece: Share | None = None
    ece_noise: Share | None = None
    calibration: Calibration | None = None
    feature_cka: Share | None = None


class TrialStatus(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


class TrialOutcome(Record):
    """How a trial ended.

    Attributes:
        status: "complete" at full fidelity (or after the recipe's own early stopping), "stopped" by a scheduler, or
            "failed".
        curve: Learning curve on validation, one entry per epoch.
        metrics: Metrics of the kept weights: on validation, on the fold if the task has one, or else on the test split
            if the task is a confirmation. None unless the trial is complete.
        error: Reason of the failure, one line; None unless the trial failed.
    """

    status: TrialStatus
    curve: tuple[EpochMetrics, ...] = ()
    metrics: StudentMetrics | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _check_status(self) -> Self:
        if (self.status is TrialStatus.COMPLETE) != (self.metrics is not None):
            raise ValueError("a trial has metrics exactly when its status is 'complete'")
        if (self.status is TrialStatus.FAILED) != (self.error is not None):
            raise ValueError("a trial has an error exactly when its status is 'failed'")
        return self


class TrialResult(Record):
    """The part of a trial's record that is written when the trial ends: `result.json`, and `result` in the study.

    The task is stored once, when the trial is assigned; the digest ties the two parts together.

    Attributes:
        schema_version: Version of this record on disk and in the study.
        task_digest: `TrialTask.digest()` of the trial's task.
        execution: Where and how the trial ran.
        outcome: How the trial ended.
    """

    schema_version: Literal[2] = 2
    task_digest: str
    execution: ExecutionInfo = Field(default_factory=ExecutionInfo)
    outcome: TrialOutcome


class TrialRecord(Record):
    """One ended trial.

    Attributes:
        task: What was trained, how, and with which seed.
        execution: Where and how the trial ran.
        outcome: How the trial ended.
    """

    task: TrialTask
    execution: ExecutionInfo = Field(default_factory=ExecutionInfo)
    outcome: TrialOutcome

    @classmethod
    def compose(cls, task: TrialTask, result: TrialResult, *, origin: str) -> Self:
        """Return the record of the trial with this task and result.

        Args:
            task: Task of the trial.
            result: Result of the trial.
            origin: Name of the place of the result in an error, such as its path.

        Raises:
            RunError: The result belongs to another task.
        """
        if result.task_digest != task.digest():
            raise RunError(
                f"belongs to task {result.task_digest}, but trial {task.number} has task {task.digest()}; restore "
                "the study and the run directory from the same time, or choose another --out",
                code="run.foreign_result",
                field=origin,
            )
        return cls(task=task, execution=result.execution, outcome=result.outcome)

    def result(self) -> TrialResult:
        """Return the part of the record that is written when the trial ends."""
        return TrialResult(task_digest=self.task.digest(), execution=self.execution, outcome=self.outcome)

    @property
    def number(self) -> int:
        """Optuna's trial number."""
        return self.task.number

    @property
    def seed(self) -> int:
        """Seed of the initial weights, the order of the images and dropout."""
        return self.task.seed

    @property
    def spec(self) -> StudentSpec:
        """The candidate student."""
        return self.task.spec

    @property
    def recipe(self) -> Recipe:
        """How the student was distilled."""
        return self.task.recipe

    @property
    def cost(self) -> Cost:
        """Cost of the candidate."""
        return self.task.cost

    @property
    def assistant(self) -> int | None:
        """Number of the trial whose student taught this one; None when the teacher did."""
        return self.task.assistant

    @property
    def fold(self) -> Fold | None:
        """Part of the training split that was scored instead of validation; None for no fold."""
        return self.task.fold

    @property
    def confirmation(self) -> Confirmation | None:
        """Which repeated training of a picked student this was; None in a search."""
        return self.task.confirmation

    @property
    def status(self) -> TrialStatus:
        """How the trial ended."""
        return self.outcome.status

    @property
    def curve(self) -> tuple[EpochMetrics, ...]:
        """Learning curve on validation, one entry per epoch."""
        return self.outcome.curve

    @property
    def metrics(self) -> StudentMetrics | None:
        """Metrics of the kept weights; None unless the trial is complete."""
        return self.outcome.metrics

    @property
    def error(self) -> str | None:
        """Reason of the failure, one line; None unless the trial failed."""
        return self.outcome.error

    @property
    def epochs(self) -> int:
        """Number of trained epochs."""
        return len(self.outcome.curve)

    @property
    def wall_time_s(self) -> float:
        """Seconds of training and evaluation over all resumptions, without waiting."""
        return sum(point.wall_time_s for point in self.outcome.curve)
