"""How strongly each image of a batch pulls: towards the teacher, and towards its label.

A weight per image is put on the student's side of a loss, on the gradient alone, so that it works for every loss,
relations between images included. Nothing here waits for the device.

Shapes: B images, C classes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from nas_distill.losses.functional.numerics import ROUNDINGS, at_least_float32, targets_like
from nas_distill.records.recipe import SampleWeighting


class _WeightedGradient(torch.autograd.Function):
    """Passes a value on, and its gradient back row by row times a weight."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        gradient = gradients[0]
        rows = weights.reshape(-1, *(1 for _ in gradient.shape[1:]))
        if gradient.dtype not in (torch.float16, torch.bfloat16):
            return gradient * rows.to(gradient.dtype), None
        # Beyond the narrow type's range a gradient would be infinite, as in `numerics.at_least_float32`.
        largest = torch.finfo(gradient.dtype).max
        return (gradient.float() * rows).clamp(-largest, largest).to(gradient.dtype), None


def weight_gradients(student: Tensor, weights: Tensor) -> Tensor:
    """Returns `student` unchanged; on the way back the gradient of image b is multiplied by its weight.

    For a loss that is a mean over images, mean_b l_b, this is exactly the gradient of mean_b w_b l_b. For a relation
    between images it is what arrives at an image, through all its relations, times its weight. The loss's value stays
    that without weights, and so does the gradient to parameters of the loss itself.

    Args:
        student: [B, ...], what a loss is given of the student.
        weights: [B], at least 0; a constant to the gradient.
    """
    result: Tensor = _WeightedGradient.apply(student, weights.detach())
    return result


def sample_weights(kind: SampleWeighting, teacher_logits: Tensor, targets: Tensor) -> Tensor:
    """Returns how strongly each image pulls towards the teacher, 1 on average over the batch.

    "confidence": 1 - H(p) / log C, p the teacher's probabilities at temperature 1; "correctness": sum_c y_c p_c, its
    probability of the label. Both are divided by their mean; where all are 0, and with one class, the weights are 1.

    Args:
        kind: Which; "none" is 1 for every image.
        teacher_logits: [B, C].
        targets: int64 [B], or float [B, C], each class's share of a mixed image.

    Returns:
        float32 [B] from 0 to B, without a gradient.
    """
    logits = teacher_logits.detach().float()
    if kind == "none" or logits.shape[1] == 1:
        return logits.new_ones(len(logits))
    shares = softmax(logits, dim=1)
    if kind == "confidence":
        worth = 1 - torch.special.entr(shares).sum(dim=1) / math.log(logits.shape[1])
        # The rest of two nearly equal numbers: what rounding makes of a teacher without an opinion is not one.
        worth = torch.where(worth > ROUNDINGS * torch.finfo(worth.dtype).eps, worth, 0.0)
    elif targets.is_floating_point():
        worth = (targets.float() * shares).sum(dim=1)
    else:
        worth = shares.gather(1, targets[:, None]).squeeze(1)
    # Over the largest first: the mean of tiny numbers can round to 0.
    largest = worth.amax()
    worth = torch.where(largest > 0, worth / largest, 1.0)
    return worth / worth.mean()


def released_weights(targets: Tensor, released: Tensor) -> Tensor:
    """Returns what is left of the teacher's pull on each image when some classes are released.

    Args:
        targets: int64 [B], or float [B, C], each class's share of a mixed image.
        released: bool [C], on the same device.

    Returns:
        float32 [B] from 0 to 1: 1 - the share of the image that is of released classes.
    """
    if not targets.is_floating_point():
        return 1 - released.index_select(0, targets).float()
    return (1 - (targets.float() * released).sum(dim=1)).clamp(0.0, 1.0)


def label_weights(own: float, factor: float | Tensor, kept: Tensor) -> Tensor:
    """Returns each image's label weight: `courses.label_weight`, of what is left of the teacher's pull on that image.

    Args:
        own: The recipe's label weight, at least 0.
        factor: What is left of the teacher's terms for all images, 0 to 1; a number or a scalar on the device.
        kept: float [B], what is left for each image, as `released_weights` returns it.

    Returns:
        float [B]: `label_weight(own, factor)` where `kept` is 1, max(own, 1) where it is 0.
    """
    return own + (1 - factor * kept) * (max(own, 1.0) - own)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Returns mean_b w_b CE_b, nats: cross-entropy with the labels, weighted image by image.

    Weights that are all w make it w times torch's `cross_entropy`: the sum is divided by B, not by the weights.

    Args:
        logits: [B, C].
        targets: int64 [B], or float [B, C], each class's share of a mixed image.
        weights: [B].
        label_smoothing: Share of the targets' mass that is spread over all classes, 0 to 1.
    """
    logits = at_least_float32(logits)
    losses = cross_entropy(logits, targets_like(targets, logits), reduction="none", label_smoothing=label_smoothing)
    return (losses * weights.to(losses.dtype)).mean()
