"""Measure the network of a training on the splits that its metrics need."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas_distill.data.splits import ImageSplit
from nas_distill.model_outputs import ModelOutputs, OutputRequest
from nas_distill.models.features import MissingOutputError, check_outputs, network_outputs
from nas_distill.models.preprocess import Preprocess
from nas_distill.train.evaluation import Reference, evaluate, measure
from nas_distill.train.metrics import MetricSums, linear_cka
from nas_distill.train.training_data import TrainingData

_EMBEDDING = OutputRequest(embedding=True)

_SAMPLE = 2
"""Number of images that show whether a network provides embeddings."""


class Evaluator:
    """Measures a network on plain images, in eval mode and in float32.

    Args:
        data: Images that the network is trained and measured on.
        reference: The teacher's logits for plain images; None without a teacher to compare with.
        positions: Images of the training split that the network is trained on, int64 [M].
        device: Device of the network.

    Attributes:
        reference: The reference, restricted to the images that the network is trained on.
    """

    def __init__(
        self, data: TrainingData, reference: Reference | None, *, positions: Tensor, device: torch.device
    ) -> None:
        self._data = data
        self._positions = positions
        self._device = device
        self.reference = None if reference is None else reference.restricted_to(positions)

    def logits(self, network: nn.Module, layout: torch.memory_format) -> Callable[[Tensor], Tensor]:
        """Return a function from images to logits, see `logits_function`."""
        return logits_function(network, self._data.preprocess, layout)

    def validation(self, network: nn.Module, layout: torch.memory_format) -> MetricSums:
        """Return the sums over the validation images.

        Args:
            network: Network to measure.
            layout: Memory format of its inputs.
        """
        return evaluate(
            self.logits(network, layout),
            self._data.validation,
            device=self._device,
            indices=self._data.validation_indices,
            teacher_logits=None if self.reference is None else self.reference.validation,
        )

    def validation_and_features(
        self, network: nn.Module, layout: torch.memory_format, *, factor: Tensor | float = 1.0
    ) -> tuple[MetricSums, float | None]:
        """Return the sums over the validation images, and the similarity of the features to the teacher's.

        Both come from one pass.

        Args:
            network: Network to measure.
            layout: Memory format of its inputs.
            factor: Factor on the logits, or one for each image, float64 [V].

        Returns:
            The sums, and the linear CKA; None where the network or the teacher provides no penultimate features.
        """
        assert self.reference is not None
        (sample,) = self._data.train.batches(self._positions[:_SAMPLE], _SAMPLE, device=self._device)
        sums, features = measure(
            outputs_function(network, self._data.preprocess, layout, sample.images),
            self._data.validation,
            device=self._device,
            indices=self._data.validation_indices,
            teacher_logits=self.reference.validation,
            factor=factor,
        )
        theirs = self.reference.features
        return sums, None if features is None or theirs is None else linear_cka(features, theirs)

    def training_subset(self, network: nn.Module, layout: torch.memory_format, *, factor: float = 1.0) -> MetricSums:
        """Return the sums over the fixed training subset, restricted to images that were trained on.

        The images are not augmented.

        Args:
            network: Network to measure.
            layout: Memory format of its inputs.
            factor: Factor on the logits.
        """
        assert self.reference is not None
        return evaluate(
            self.logits(network, layout),
            self._data.train,
            device=self._device,
            indices=self.reference.subset_indices,
            teacher_logits=self.reference.subset,
            factor=factor,
        )

    def split(
        self,
        network: nn.Module,
        layout: torch.memory_format,
        split: ImageSplit,
        teacher_logits: Tensor,
        *,
        factor: Tensor | float = 1.0,
    ) -> MetricSums:
        """Return the sums over another split.

        Args:
            network: Network to measure.
            layout: Memory format of its inputs.
            split: Images of the split.
            teacher_logits: The teacher's logits for these images, float32 [N, C].
            factor: Factor on the logits, or one for each image, float64 [N].
        """
        return evaluate(
            self.logits(network, layout),
            split,
            device=self._device,
            teacher_logits=teacher_logits,
            factor=factor,
        )


def logits_function(
    network: nn.Module, preprocess: Preprocess, layout: torch.memory_format
) -> Callable[[Tensor], Tensor]:
    """Return a function from images, uint8 [B, C, H, W], to logits [B, K].

    Args:
        network: Network to call; it is put into eval mode.
        preprocess: Conversion from images to network inputs.
        layout: Memory format of the network inputs.
    """
    network.eval()

    def logits(images: Tensor) -> Tensor:
        found: Tensor = network(preprocess(images.contiguous(memory_format=layout)))
        return found

    return logits


def outputs_function(
    network: nn.Module, preprocess: Preprocess, layout: torch.memory_format, sample: Tensor
) -> Callable[[Tensor], ModelOutputs]:
    """Return a function from images to logits and, if the network provides them, penultimate embeddings.

    Args:
        network: Network to call; it is put into eval mode.
        preprocess: Conversion from images to network inputs.
        layout: Memory format of the network inputs.
        sample: Images that show whether the network provides embeddings, uint8 [B, C, H, W].
    """
    logits = logits_function(network, preprocess, layout)
    try:
        check_outputs(network, preprocess(sample), _EMBEDDING)
    except MissingOutputError:
        return lambda images: ModelOutputs(logits(images))
    return lambda images: network_outputs(network, preprocess(images.contiguous(memory_format=layout)), _EMBEDDING)
