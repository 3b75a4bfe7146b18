"""Weights per image: for the teacher's losses, and for the cross-entropy with the labels.

The weight of an image multiplies the gradient that reaches its student outputs. That works for every loss, also for
those that relate images to each other. Nothing here synchronises with the device.

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
    """The identity, whose gradient is multiplied by one weight per row."""

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
        # Without the clamp the gradient could become infinite in half precision, as in `numerics.at_least_float32`.
        largest = torch.finfo(gradient.dtype).max
        return (gradient.float() * rows).clamp(-largest, largest).to(gradient.dtype), None


def weight_gradients(student: Tensor, weights: Tensor) -> Tensor:
    """Return `student` unchanged; multiply the gradient of image b by its weight in the backward pass.

    For a loss that is a mean over images, mean_b l_b, this gives exactly the gradient of mean_b w_b l_b. For a loss of
    relations between images, the whole gradient of an image, over all its relations, is multiplied by its weight. The
    value of the loss and the gradient of its own parameters do not change.

    Args:
        student: Student outputs [B, ...] that a loss takes.
        weights: Weight of each image [B], at least 0. No gradient flows to them.
    """
    result: Tensor = _WeightedGradient.apply(student, weights.detach())
    return result


def sample_weights(kind: SampleWeighting, teacher_logits: Tensor, targets: Tensor) -> Tensor:
    """Return the weight of each image in the teacher's losses. The mean over the batch is 1.

    "confidence": 1 - H(p) / log C, where p are the teacher's probabilities at temperature 1. "correctness": sum_c y_c
    p_c, the teacher's probability of the label. Both are divided by their mean. If all are 0, or there is one class,
    every weight is 1.

    Args:
        kind: Kind of weighting; "none" weights every image by 1.
        teacher_logits: Teacher logits [B, C].
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C].

    Returns:
        Weights from 0 to B, float32 [B], without a gradient.
    """
    logits = teacher_logits.detach().float()
    if kind == "none" or logits.shape[1] == 1:
        return logits.new_ones(len(logits))
    shares = softmax(logits, dim=1)
    if kind == "confidence":
        worth = 1 - torch.special.entr(shares).sum(dim=1) / math.log(logits.shape[1])
        # A difference of nearly equal numbers: a uniform teacher must not get a confidence from rounding errors.
        worth = torch.where(worth > ROUNDINGS * torch.finfo(worth.dtype).eps, worth, 0.0)
    elif targets.is_floating_point():
        worth = (targets.float() * shares).sum(dim=1)
    else:
        worth = shares.gather(1, targets[:, None]).squeeze(1)
    # Divided by the largest first, because the mean of tiny numbers can round to 0.
    largest = worth.amax()
    worth = torch.where(largest > 0, worth / largest, 1.0)
    return worth / worth.mean()


def released_weights(targets: Tensor, released: Tensor) -> Tensor:
    """Return the weight of each image in the teacher's losses when some classes are released.

    Args:
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C].
        released: Whether each class is released, bool [C], on the same device.

    Returns:
        Weights from 0 to 1, float32 [B]: 1 minus the share of the image that belongs to released classes.
    """
    if not targets.is_floating_point():
        return 1 - released.index_select(0, targets).float()
    return (1 - (targets.float() * released).sum(dim=1)).clamp(0.0, 1.0)


def label_weights(own: float, factor: float | Tensor, unreleased: Tensor) -> Tensor:
    """Return the label weight of each image: `schedules.label_weight` for the teacher's weight on that image.

    Args:
        own: The recipe's label weight, at least 0.
        factor: Factor of the teacher's weights for all images, 0 to 1; a number or a scalar tensor.
        unreleased: Weight of each image in the teacher's losses, as `released_weights` returns it, float [B].

    Returns:
        Weights, float [B]: `label_weight(own, factor)` where `unreleased` is 1, max(own, 1) where it is 0.
    """
    return own + (1 - factor * unreleased) * (max(own, 1.0) - own)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return mean_b w_b CE_b in nats: the cross-entropy with the labels, with one weight per image.

    The sum is divided by B, not by the sum of the weights: with equal weights w it is w times torch's `cross_entropy`.

    Args:
        logits: Logits [B, C].
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C].
        weights: Weight of each image [B].
        label_smoothing: Share of the targets' probability that is spread over all classes, 0 to 1.
    """
    logits = at_least_float32(logits)
    losses = cross_entropy(logits, targets_like(targets, logits), reduction="none", label_smoothing=label_smoothing)
    return (losses * weights.to(losses.dtype)).mean()
