"""`Recipe`: how a student is distilled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from nas_distill.records.base import FrozenLosses, Record, Share
from nas_distill.records.student import RANDOM

Mix = Literal["none", "mixup", "cutmix"]
Schedule = Literal["cosine", "linear", "step", "constant"]
AdaptiveSchedule = Literal["constant", "linear", "cosine"]
SampleWeighting = Literal["none", "confidence", "correctness"]


class Adaptation(Record):
    """How the teacher's part of a recipe changes during training; by default it does not change.

    When the weight of the teacher's loss terms falls to 0, the weight of the labels rises to 1 (or stays, if it is
    above), for all images or for those of released classes.

    Attributes:
        weight_schedule: Schedule of the factor on the weights of all teacher terms, from 1 to `weight_end` over all
            epochs: "constant", "linear" or half a "cosine". With `weight_end=0` the recipe anneals to the labels, as in
            Jafari et al. 2021, arXiv 2104.07163.
        weight_end: Factor in the last epoch, 0 to 1.
        temperature_schedule: Schedule of the temperature of all losses that have one, from theirs to
            `temperature_end`.
        temperature_end: Temperature in the last epoch, 0.01 to 1000.
        teacher_until: Share of the epochs after which the teacher's terms end (early-stopped distillation, Cho and
            Hariharan 2019, arXiv 1910.01348).
        teacher_patience: Number of epochs without a fall of 1 % in the weighted sum of the teacher's terms on training
            images after which the teacher's terms end; 0 for never. Validation images are not used.
        sample_weighting: Weight of each image in the teacher's terms, 1 on average over a batch: the teacher's
            "confidence" (1 - entropy / log C), its "correctness" (probability of the label), or "none".
        release: Whether to hold out training images and to drop the teacher's terms for classes on which they hurt
            there (per-class release, see docs/how-to/strong-teacher.md).
        release_holdout: Share of the training images that are held out for this test and not trained on.
        release_level: Significance level of the test, over all classes of one epoch.
    """

    weight_schedule: AdaptiveSchedule = "constant"
    weight_end: Share = 0.0
    temperature_schedule: AdaptiveSchedule = "constant"
    temperature_end: Annotated[float, Field(ge=0.01, le=1000.0)] = 1.0
    teacher_until: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    teacher_patience: NonNegativeInt = 0
    sample_weighting: SampleWeighting = "none"
    release: bool = False
    release_holdout: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    release_level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05


class Recipe(Record):
    """How a student is distilled.

    Attributes:
        losses: Parameters of each teacher loss, such as `weight`, by registry name. Empty or `none` trains without
            the teacher (the control).
        label_weight: Weight of cross-entropy with the labels.
        label_smoothing: Share of the label's probability that is spread over all classes, 0 to 1.
        epochs: Full fidelity, passes over the training split.
        batch_size: Images per step.
        optimizer: Name of an optimiser of `timm.optim.create_optimizer_v2`.
        learning_rate: Peak learning rate.
        fine_tuning_rate_share: Factor on `learning_rate` for students that do not start from random weights.
        warmup_share: Share of all steps for linear warm-up, 0 to 1.
        min_learning_rate_share: Learning rate at the end, as a share of the peak.
        weight_decay: Weight decay, decoupled or L2 as the optimiser defines it; biases and norms are exempt.
        dropout: Dropout before the classifier, where the architecture has it (`drop_rate`).
        drop_path: Stochastic depth, where the architecture has it (`drop_path_rate`).
        ema_decay: Decay per step of the moving average of the weights, which is evaluated; 0 for no average.
        gradient_clip_norm: Largest L2 norm of the gradient of the network and of each loss's learned part; 0 for no
            clipping.
        schedule: Learning rate schedule of timm after the warm-up: "cosine", "linear" (polynomial of power 1), "step"
            (divided by ten after each third) or "constant".
        mix: How pairs of images and their labels are mixed: "mixup" (Zhang et al. 2018, arXiv 1710.09412), "cutmix"
            (Yun et al. 2019, arXiv 1905.04899) or "none". The configuration section `views` sets the strength.
        adaptive: How the teacher's part changes during training.
        early_stopping_patience: Number of epochs without a better validation accuracy (ties: likelihood) after which
            training ends and the best epoch is kept; 0 trains all epochs and keeps the last.
    """

    losses: FrozenLosses = Field(default_factory=lambda: {"dist": {"weight": 1.0}})
    label_weight: NonNegativeFloat = 1.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 64
    optimizer: Annotated[str, Field(min_length=1)] = "adamw"
    learning_rate: PositiveFloat = 4e-3
    fine_tuning_rate_share: PositiveFloat = 1.0
    warmup_share: Share = 0.1
    min_learning_rate_share: Share = 0.01
    weight_decay: NonNegativeFloat = 0.02
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.98
    gradient_clip_norm: NonNegativeFloat = 1.0
    schedule: Schedule = "cosine"
    mix: Mix = "none"
    adaptive: Adaptation = Field(default_factory=Adaptation)
    early_stopping_patience: NonNegativeInt = 0

    def for_fine_tuning(self) -> Self:
        """Return the recipe for a student that does not start from random weights."""
        rate = self.learning_rate * self.fine_tuning_rate_share
        return self.model_copy(update={"learning_rate": rate, "fine_tuning_rate_share": 1.0})

    @field_validator("losses", mode="before")
    @classmethod
    def _accept_none(cls, value: Any) -> Any:
        return {} if isinstance(value, Mapping) and value == {"none": {}} else value

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        if self.label_weight == 0 and not any(terms.get("weight", 1.0) > 0 for terms in self.losses.values()):
            raise ValueError("label_weight is 0 and no teacher loss has a weight above 0: nothing would be learned")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChoices:
    """The choices that recipes have in one search, which depend on the stored teacher outputs.

    Attributes:
        losses: Registry names of the available losses, sorted, without the control `none`, which is always available.
        mixes: Available values of `Recipe.mix`, sorted: that of the fixed recipe, and `views.mixes`.
        weights: Default weight of each loss, from the registry.
        label_weights: Weight of the labels that the literature uses with each loss.
        releases: Whether a tenth of a class's images suffices to release the class (`Adaptation.release`), also on the
            folds on which picks are scored.
        initial_weights: Weights that the candidate starts from (`StudentSpec.initial_weights`).
    """

    losses: tuple[str, ...]
    mixes: tuple[str, ...]
    weights: Mapping[str, float]
    label_weights: Mapping[str, float]
    releases: bool
    initial_weights: str = RANDOM
