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

Mix = Literal["none", "mixup", "cutmix"]
Schedule = Literal["cosine", "linear", "step", "constant"]
AdaptiveSchedule = Literal["constant", "linear", "cosine"]
SampleWeighting = Literal["none", "confidence", "correctness"]


class Adaptation(Record):
    """How the teacher's part of a recipe changes while the student learns; by default not at all.

    What the teacher's terms lose of their weight the labels gain: their weight goes to 1 (or stays, when it is above)
    as the teacher's goes to 0, for all images or for those that are released.

    Attributes:
        weight_schedule: How the weight of all teacher terms goes from 1 times theirs to `weight_end` times, over all
            epochs: "linear", or along half a "cosine". With `weight_end=0` the recipe anneals to the labels
            (Jafari et al. 2021, arXiv 2104.07163, is of this kind).
        weight_end: Factor in the last epoch.
        temperature_schedule: How the temperature of those losses that have one goes to `temperature_end`.
        temperature_end: Temperature in the last epoch.
        teacher_until: The teacher's terms end after this share of the epochs (early-stopped distillation, Cho and
            Hariharan 2019, arXiv 1910.01348).
        teacher_patience: They end after this many epochs in which their weighted sum over the training images did not
            fall by a hundredth; 0 never. No validation image has a say.
        sample_weighting: How strongly each image pulls towards the teacher, 1 on average over a batch: by the
            teacher's "confidence" (1 - entropy / log C) or "correctness" (its probability of the label).
        release: Hold training images out and drop the teacher's terms for classes on which they are found to
            hurt there (per-class release, see docs/adaptive.md).
        release_holdout: Share of the training images that is held out for that, and not trained on.
        release_level: Level of its test, over all classes of one epoch.
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
        losses: The teacher's loss terms by registry name, each with its parameters (`weight` among them);
            empty, or `none`, trains without the teacher (the control).
        label_weight: Weight of cross-entropy with the labels.
        label_smoothing: Smoothing of those labels, share of the mass spread over all classes.
        epochs: Full fidelity, in passes over the training split.
        batch_size: Images per step.
        optimizer: A name that `timm.optim.create_optimizer_v2` knows.
        learning_rate: Peak learning rate.
        warmup_share: Share of all steps spent on linear warm-up, before the cosine.
        min_learning_rate_share: Learning rate at the end, as a share of the peak.
        weight_decay: Decoupled or L2, as the optimiser defines it; biases and norms are exempt.
        dropout: Dropout before the classifier, where the architecture has it (`drop_rate`).
        drop_path: Stochastic depth, where the architecture has it (`drop_path_rate`).
        ema_decay: Decay per step of the weights' moving average that is evaluated; 0 evaluates the raw weights.
        gradient_clip_norm: Largest L2 norm of the network's gradient, and of that of each loss's learned part; 0 is no
            clipping.
        schedule: Course of the learning rate after the warm-up, by timm's schedulers: "cosine", "linear" (a poly of
            power 1), "step" (a tenth after each third) or "constant".
        mix: Mix images and labels with those of a partner: "mixup" (Zhang et al. 2018, arXiv 1710.09412) averages
            the two, "cutmix" (Yun et al. 2019, arXiv 1905.04899) puts a box of one into the other. How strongly is
            said by `views`, which the teacher sees too.
        adaptive: How the teacher's part changes while the student learns.
        early_stopping_patience: Epochs without a better validation accuracy (ties: likelihood) before the training
            ends and its best epoch is kept; 0 trains all epochs and keeps the last.
    """

    losses: FrozenLosses = Field(default_factory=lambda: {"dist": {"weight": 1.0}})
    label_weight: NonNegativeFloat = 1.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 64
    optimizer: Annotated[str, Field(min_length=1)] = "adamw"
    learning_rate: PositiveFloat = 4e-3
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

    @field_validator("losses", mode="before")
    @classmethod
    def _control_by_name(cls, value: Any) -> Any:
        return {} if isinstance(value, Mapping) and value == {"none": {}} else value

    @model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        if self.label_weight == 0 and not any(terms.get("weight", 1.0) > 0 for terms in self.losses.values()):
            raise ValueError("label_weight is 0 and no teacher loss has a weight above 0: nothing would be learned")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChoices:
    """What recipes may choose in this search, since it is stored or the teacher is asked online.

    Attributes:
        losses: Registry names, sorted, without the control `none`, which can always be taken.
        mixes: For `Recipe.mix`, sorted: the configuration's own, and `views.mixes`.
        weights: Default weight of each of the losses, as the registry has it.
        label_weights: Weight of the labels beside that, in the literature.
        releases: Whether a tenth of a class, held out, is enough to release it (`Adaptation.release`), on the folds too
            that picks are scored on.
    """

    losses: tuple[str, ...]
    mixes: tuple[str, ...]
    weights: Mapping[str, float]
    label_weights: Mapping[str, float]
    releases: bool
