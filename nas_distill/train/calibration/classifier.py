"""Multiply the logits of a network by a constant, by a change of its weights."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from nas_distill.models.features import eval_without_side_effects

_TOLERANCE = 1e-4
"""Largest accepted difference of the logits, relative to the largest one. Rounding of float32 makes about 1e-6."""


def multiply_logits(network: nn.Module, factor: float, inputs: Tensor) -> bool:
    """Multiply the weights and biases of the classification layer by `factor`, if this multiplies the logits by it.

    The classification layer is the last linear layer or convolution of what timm's `get_classifier` returns, or of
    each of several classifiers whose logits are averaged.

    Args:
        network: timm classifier, or a student with its teacher's classifier.
        factor: Factor on the logits, above 0.
        inputs: Network inputs for a check, float [B, channels, H, W], on the network's device.

    Returns:
        Whether the logits are multiplied. If not, the network is unchanged.
    """
    tensors = [tensor for layer in _classification_layers(network) for tensor in layer.parameters(recurse=False)]
    kept = [tensor.detach().clone() for tensor in tensors]
    with eval_without_side_effects(network, inputs.device):
        expected = factor * network(inputs).double()
        for tensor in tensors:
            tensor.mul_(factor)
        difference = (network(inputs).double() - expected).abs().max()
        if difference <= _TOLERANCE * expected.abs().max():
            return True
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(before)
    return False


def _classification_layers(network: nn.Module) -> Iterator[nn.Module]:
    found = getattr(network, "get_classifier", lambda: None)()
    for classifier in found if isinstance(found, list | tuple) else (found,):
        if isinstance(classifier, nn.Module):
            layers = [module for module in classifier.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
            yield from layers[-1:]
