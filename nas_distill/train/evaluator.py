"""A network in eval mode as a function of uint8 images, for measuring."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas_distill.model_outputs import ModelOutputs, OutputRequest
from nas_distill.models.features import MissingOutputError, check_outputs, network_outputs
from nas_distill.models.preprocess import Preprocess

_EMBEDDING = OutputRequest(embedding=True)


def logits_function(
    network: nn.Module, preprocess: Preprocess, layout: torch.memory_format
) -> Callable[[Tensor], Tensor]:
    """Return a function from images, uint8 [B, C, H, W], to logits [B, K].

    Args:
        network: Put into eval mode.
        preprocess: From images to its input.
        layout: Memory format of the images that it is given.
    """
    network.eval()

    def answer(images: Tensor) -> Tensor:
        logits: Tensor = network(preprocess(images.contiguous(memory_format=layout)))
        return logits

    return answer


def outputs_function(
    network: nn.Module, preprocess: Preprocess, layout: torch.memory_format, some: Tensor
) -> Callable[[Tensor], ModelOutputs]:
    """Return a function from images to logits and, where the network gives them, penultimate embeddings.

    Args:
        network: Put into eval mode.
        preprocess: From images to its input.
        layout: Memory format of the images that it is given.
        some: uint8 [B, C, H, W], to find out on.
    """
    answer = logits_function(network, preprocess, layout)
    try:
        check_outputs(network, preprocess(some), _EMBEDDING)
    except MissingOutputError:
        return lambda images: ModelOutputs(answer(images))
    return lambda images: network_outputs(network, preprocess(images.contiguous(memory_format=layout)), _EMBEDDING)
