"""The record of a trial: its learning curve, its metrics and how it ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nas_distill.records.base import FrozenFloats, Record, Share
from nas_distill.records.recipe import Recipe
from nas_distill.records.student import Cost, StudentSpec
from nas_distill.records.task import Confirmation, Fold

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Attention = Literal["fused", "plain"]


class Execution(Record):
    """How a network was run while it was trained: what may differ between devices for one recipe.

    Attributes:
        precision: Of activations in training. Weights, losses, gradients of weights and all measurements are float32.
        memory_format: Of weights and activations; "channels_last" keeps the channels of a pixel together.
        attention: torch's fused kernel, or "plain" matrix products and softmax, where timm's architecture has both.
        micro_batch_size: Images per forward pass where memory did not hold the recipe's batch; the gradients of a
            batch's passes are summed. None when it did.
    """

    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    attention: Attention = "fused"
    micro_batch_size: PositiveInt | None = None


class EpochMetrics(Record):
    """One point of a learning curve; the teacher's columns are None when the teacher itself is trained.

    Attributes:
        epoch: Epochs finished, from 1.
        train_loss: Mean weighted training loss of the epoch.
        loss_parts: Mean of each named part before weighting; `label` is cross-entropy.
        learning_rate: At the last step of the epoch.
        top1: Validation accuracy of the evaluated weights, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels on validation.
        gap_points: 100 (teacher top-1 - student top-1), percentage points; negative when the student leads.
        agreement: Share of validation images with the teacher's argmax.
        divergence_nats: Mean KL(teacher || student) at temperature 1.
        wall_time_s: Seconds for this epoch, evaluation included.
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
    """What a trained student is worth, on validation unless the name says train (DESIGN section 3).

    Attributes:
        top1: Accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels.
        gap_points: 100 (teacher top-1 - student top-1); never clamped.
        agreement: Share of images with the teacher's argmax (Stanton et al. 2021, arXiv 2106.05945).
        divergence_nats: Mean KL(teacher || student) at temperature 1.
        train_top1: Accuracy on a fixed training subset, in eval mode, without augmentation.
        train_agreement: Agreement there.
        train_divergence_nats: Divergence there.
        generalisation_gap_points: 100 (train_top1 - top1).
        capacity_ratio: Student parameters / teacher parameters.
        class_gap_points: Gap per class, in the order of the data's classes; None for a class without images.
        class_counts: Validation images per class.
        ece: Expected calibration error of the predicted class's probability, 15 bins of equal width (Guo et al. 2017,
            arXiv 1706.04599, equation 3), 0 to 1; None in records from before it was measured.
        feature_cka: Linear CKA of the penultimate features, teacher against student (Kornblith et al. 2019, arXiv
            1905.00414, equation 5), 0 to 1, over at most 4,096 images, evenly spaced; None where one of the two
            gives no such features, where they are constant, for folds and test images, and in records from before it
            was measured.
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
    feature_cka: Share | None = None


class TrialStatus(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


class TrialRecord(Record):
    """One finished trial: candidate, recipe, cost, curve and worth.

    Attributes:
        schema_version: Of this record on disk.
        number: Optuna's trial number.
        seed: Of initial weights, order of images and dropout.
        spec: The candidate.
        recipe: How it was distilled.
        cost: What it costs.
        status: "complete" at full fidelity (or by its own early stopping), "stopped" by a scheduler, "failed".
        epochs: Epochs trained.
        curve: One entry per epoch.
        metrics: Worth of the kept weights; None when the trial failed.
        error: One line, for a failed trial.
        resumptions: How often the trial went on from a checkpoint.
        wall_time_s: Training and evaluation, all resumptions together, without waiting.
        device: Device that trained it, such as "cpu" or the accelerator's name.
        execution: How it was run there.
        assistant: Number of the trial whose student taught this one; None when the teacher did.
        fold: Part of the training split on which it was scored instead of validation, which took no part; or None.
        confirmation: Which of a pick's repeated trainings this is; its `metrics` are of the test split then (of the
            fold, where there is one), its curve is of validation. None in a search.
        released_classes: Those for which the teacher's terms were dropped (`Adaptation.release`).
    """

    schema_version: Literal[1] = 1
    number: NonNegativeInt
    seed: NonNegativeInt
    spec: StudentSpec
    recipe: Recipe
    cost: Cost
    status: TrialStatus
    epochs: NonNegativeInt
    curve: tuple[EpochMetrics, ...]
    metrics: StudentMetrics | None
    error: str | None = None
    resumptions: NonNegativeInt = 0
    wall_time_s: NonNegativeFloat
    device: str
    execution: Execution = Field(default_factory=Execution)
    assistant: NonNegativeInt | None = None
    fold: Fold | None = None
    confirmation: Confirmation | None = None
    released_classes: tuple[NonNegativeInt, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.status is TrialStatus.COMPLETE) != (self.metrics is not None):
            raise ValueError("a trial has metrics exactly when its status is 'complete'")
        if (self.status is TrialStatus.FAILED) != (self.error is not None):
            raise ValueError("a trial has an error exactly when its status is 'failed'")
        return self
