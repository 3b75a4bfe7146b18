"""How a network is run in training, and how a trial was run by its worker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from nas_distill.records.base import Record, Share
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.student import RANDOM, InitialWeights

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Attention = Literal["fused", "plain"]


class ExecutionSettings(Record):
    """How a network is run in training; these settings may differ between devices for the same recipe.

    Attributes:
        precision: Precision of activations in training. Weights, losses, weight gradients and all measurements are
            float32.
        memory_format: Memory format of weights and activations; "channels_last" stores the channels of a pixel
            together.
        attention: "fused" for torch's fused attention kernel, "plain" for matrix products and softmax. Only matters
            for architectures for which timm implements both.
        micro_batch_size: Images per forward pass when the recipe's batch does not fit in memory; gradients are summed
            over the passes of a batch. None when the batch fits.
    """

    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    attention: Attention = "fused"
    micro_batch_size: PositiveInt | None = None


class InitialWeightsReport(Record):
    """What a student took over from another network before its training.

    Attributes:
        source: Source of the weights, a value of `StudentSpec.initial_weights`.
        copied_share: Share of the student's parameters that do not start from random values, 0 to 1.
        tensors_copied: Number of parameters and buffers, counted as tensors, that were taken over.
        tensors_total: Number of all tensors of the student.
    """

    source: InitialWeights = RANDOM
    copied_share: Share = 0.0
    tensors_copied: NonNegativeInt = 0
    tensors_total: NonNegativeInt = 0


class ExecutionInfo(Record):
    """Where and how a trial ran. Only its worker knows this.

    Attributes:
        resumptions: Number of times the trial resumed from a checkpoint.
        device: Device that trained the student, such as "cpu" or the name of the accelerator; "unknown" when the
            worker died.
        settings: How the student was run on that device.
        normalisation: Normalisation of the student's input; None when the trial failed before its student was built,
            or when the worker died.
        released_classes: Classes for which the teacher's loss terms were dropped (`Adaptation.release`).
        initial_weights: What the student took over before its training; None when the trial ended before that.
    """

    resumptions: NonNegativeInt = 0
    device: str = "unknown"
    settings: ExecutionSettings = Field(default_factory=ExecutionSettings)
    normalisation: Normalisation | None = None
    released_classes: tuple[NonNegativeInt, ...] = ()
    initial_weights: InitialWeightsReport | None = None
