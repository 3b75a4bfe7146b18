"""A network in eval mode as a function of uint8 images, for measuring."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas_distill.models.features import SignalError, check_signals, network_signals
from nas_distill.models.preprocess import Preprocess
from nas_distill.model_outputs import Signals, Wanted

_EMBEDDING = Wanted(embedding=True)


def logits_of(network: nn.Module, preprocess: Preprocess, layout: torch.memory_format) -> Callable[[Tensor], Tensor]:
    """Returns a function from images, uint8 [B, C, H, W], to logits [B, K].

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


def signals_of(
    network: nn.Module, preprocess: Preprocess, layout: torch.memory_format, some: Tensor
) -> Callable[[Tensor], Signals]:
    """Returns a function from images to logits and, where the network gives them, penultimate embeddings.

    Args:
        network: Put into eval mode.
        preprocess: From images to its input.
        layout: Memory format of the images that it is given.
        some: uint8 [B, C, H, W], to find out on.
    """
    answer = logits_of(network, preprocess, layout)
    try:
        check_signals(network, preprocess(some), _EMBEDDING)
    except SignalError:
        return lambda images: Signals(answer(images))
    return lambda images: network_signals(network, preprocess(images.contiguous(memory_format=layout)), _EMBEDDING)
