"""The records that travel through the service and rest on disk."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from nas_distill.frozen import FrozenArguments, FrozenFloats, Record, Share
from nas_distill.recipe import Recipe

__all__ = [
    "Arm",
    "Attention",
    "Confirmation",
    "Cost",
    "EpochMetrics",
    "Execution",
    "Fold",
    "MemoryFormat",
    "Precision",
    "Recipe",
    "StudentMetrics",
    "StudentSpec",
    "TeacherLink",
    "TeacherRecord",
    "TrialRecord",
    "TrialStatus",
]

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Attention = Literal["fused", "plain"]


class StudentSpec(Record):
    """A candidate: a timm architecture name and its constructor arguments.

    Attributes:
        architecture: A name that `timm.create_model` knows (`small_resnet` and what a space registers included).
        arguments: Keyword arguments of the constructor, JSON values only. The data decide `num_classes`,
            `in_chans` and, where the architecture takes it, `img_size`; the recipe decides the drop rates.
        family: Group under which figures and diagnosis file the candidate; by default the architecture.
    """

    architecture: Annotated[str, Field(min_length=1)]
    arguments: FrozenArguments = Field(default_factory=dict)
    family: str = ""

    @model_validator(mode="before")
    @classmethod
    def _default_family(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("family"):
            return {**values, "family": values.get("architecture", "")}
        return values

    @property
    def spec_id(self) -> str:
        """Hash of the canonical JSON, 12 hexadecimal digits."""
        return self.digest()

    def keyword_arguments(self) -> dict[str, Any]:
        """Returns a mutable copy of `arguments`, sequences as tuples."""
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in self.arguments.items()}

    def __eq__(self, other: object) -> bool:
        # By digest, as the hash: Python's 1, 1.0 and True are equal, but three candidates in JSON.
        return isinstance(other, StudentSpec) and self.spec_id == other.spec_id

    def __hash__(self) -> int:
        return hash(self.spec_id)


class Cost(Record):
    """What a network costs, all known before training.

    Attributes:
        num_params: Trainable and frozen parameters, without buffers.
        macs: Multiply-accumulates of one forward pass of one image.
        size_bytes: Parameters and buffers at their stored precision.
        latency_ms: Median time for one image on one thread of the driver's CPU, milliseconds; None where the search
            had no bound on it (`space.max_latency_ms`) and did not measure it.
    """

    num_params: PositiveInt
    macs: NonNegativeInt
    size_bytes: PositiveInt
    latency_ms: PositiveFloat | None = None


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


Arm = Literal["taught", "alone", "released"]


class Confirmation(Record):
    """One of the repeated trainings by which a picked student is confirmed.

    Attributes:
        arm: "taught" by the trial's own recipe; "alone", the control, by the same without the teacher's terms;
            "released" by the same with per-class release (`Adaptation.release`).
        repetition: From 0; the arms of one repetition share their seed, and their fold where there are folds.
    """

    arm: Arm
    repetition: NonNegativeInt


class Fold(Record):
    """One part of the training split, on which a student is scored that was trained on the other parts.

    Attributes:
        number: Which part, from 0.
        of: How many parts.
    """

    number: NonNegativeInt
    of: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.number >= self.of:
            raise ValueError(f"fold {self.number} of {self.of} does not exist; the last is {self.of - 1}")
        return self


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


class TeacherLink(Record):
    """One network of the chain that leads to a teacher which was a student itself.

    Attributes:
        run: Name of the run in which it taught, or was taught.
        trial: Number of the trial there whose student it is; None for that run's teacher.
        architecture: timm name.
        num_params: Its parameters.
        top1: Accuracy on that run's validation images, 0 to 1.
    """

    run: str
    trial: NonNegativeInt | None
    architecture: str
    num_params: PositiveInt
    top1: Share


class TeacherRecord(Record):
    """The teacher as the search sees it; `teacher/metrics.json` of a run.

    Attributes:
        schema_version: Of this record on disk.
        architecture: timm name.
        weights_sha256: Digest of the teacher's tensors.
        class_names: In the order of its outputs.
        cost: At the data's (or its own) input size.
        top1: Validation accuracy, 0 to 1.
        nll_nats: Validation negative log-likelihood.
        class_top1: Per class; None for a class without images.
        class_counts: Validation images per class.
        data_id: Digest of data and splits it was measured on.
        trained_on_data_id: Digest of data and splits it was trained on by `nas_distill teacher`; None when
            unknown (a downloaded teacher may have seen the validation images, which flatters it).
        curve: Learning curve, when this product trained it.
        lineage: When it was a student in another run: who taught whom, from the original teacher to itself.
    """

    schema_version: Literal[1] = 1
    architecture: str
    weights_sha256: str
    class_names: tuple[str, ...]
    cost: Cost
    top1: Share
    nll_nats: NonNegativeFloat
    class_top1: tuple[Share | None, ...]
    class_counts: tuple[NonNegativeInt, ...]
    data_id: str
    trained_on_data_id: str | None = None
    curve: tuple[EpochMetrics, ...] = ()
    lineage: tuple[TeacherLink, ...] = ()
