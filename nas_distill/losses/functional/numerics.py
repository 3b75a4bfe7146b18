"""What all losses share: wide arithmetic, lengths that cannot be zero, and labels of mixed images.

The rule for what has no length (a constant row of logits, a dead feature map, two equal embeddings): it is centred
but not scaled, that is, divided by 1. The value is that of the original authors' code, whose small constants come
to the same; the gradient unreleased its direction at the size it has without scaling, where theirs grows to 1e6 and
more, which half precision cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional

from nas_distill.errors import TeacherError

P = ParamSpec("P")
PairLoss = Callable[Concatenate[Tensor, Tensor, P], Tensor]

ROUNDINGS = 16.0
"""What is left of a vector after centring counts as rounding up to this many epsilons of the vector's length."""


def at_least_float32(values: Tensor) -> Tensor:
    """Returns half precision as float32, everything else as it is.

    The gradient that goes back is held within the range of the narrow type, in which it would be infinite otherwise.
    """
    if values.dtype not in (torch.float16, torch.bfloat16):
        return values
    widened, largest = values.float(), torch.finfo(values.dtype).max
    if widened.requires_grad:
        widened.register_hook(lambda gradient: gradient.clamp(-largest, largest))  # type: ignore[no-untyped-call]
    return widened


def logit_loss(loss: PairLoss[P]) -> PairLoss[P]:
    """Makes a function of two logit tensors compute as all losses do.

    In float32 or better whatever it is given, autocast or not, without a gradient to the teacher.

    Args:
        loss: `(student [B, C], teacher [B, C], ...) -> scalar`.
    """

    @wraps(loss)
    def guarded(student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if student.shape != teacher.shape:
            raise TeacherError(
                f"student logits of shape {list(student.shape)} against teacher logits of shape "
                f"{list(teacher.shape)}: both must answer the same images with the same classes"
            )
        return _in_float32(loss, student, teacher, *args, **kwargs)

    return guarded


def feature_loss(loss: PairLoss[P]) -> PairLoss[P]:
    """Makes a function of two features or embeddings compute as all losses do (see `logit_loss`).

    Args:
        loss: `(student [B, ...], teacher [B, ...], ...) -> scalar`.
    """

    @wraps(loss)
    def guarded(student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if len(student) != len(teacher):
            raise TeacherError(
                f"student features of {len(student)} images against teacher features of {len(teacher)}: "
                "both must see the same images"
            )
        return _in_float32(loss, student, teacher, *args, **kwargs)

    return guarded


def _in_float32(loss: PairLoss[P], student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    if not torch.is_autocast_enabled(student.device.type):
        return loss(student, teacher, *args, **kwargs)
    # Autocast would narrow the matrix products again.
    with torch.autocast(student.device.type, enabled=False):
        return loss(student, teacher, *args, **kwargs)


def nonzero_length(rest: Tensor, whole: Tensor | float = 0.0, *, dim: int) -> Tensor:
    """Returns the Euclidean length of `rest` along `dim`, kept as an axis of 1, and 1 where there is none.

    Args:
        rest: Vectors, perhaps differences.
        whole: Squared length of what they are differences of (see `square_sum`): where `rest` is no longer than
            rounding would make it, it has no length. By default only what is exactly zero has none.
        dim: Axis of the vectors.
    """
    squared = square_sum(rest, dim=dim)
    flat = squared <= (ROUNDINGS * torch.finfo(rest.dtype).eps) ** 2 * whole
    # The root is taken of 1 there: its own derivative at 0 is infinite, and infinity times 0 is NaN.
    return torch.where(flat, 1.0, squared).sqrt()


def square_sum(values: Tensor, *, dim: int) -> Tensor:
    """Returns the squared Euclidean length along `dim`, kept as an axis of 1."""
    return values.square().sum(dim, keepdim=True)


def safe_norm(values: Tensor, *, dim: int) -> Tensor:
    """Returns the Euclidean norm along `dim`, with the gradient 0 at 0.

    Args:
        values: Vectors.
        dim: Their axis; it is dropped.
    """
    squared = values.square().sum(dim)
    return torch.where(squared > 0.0, torch.where(squared > 0.0, squared, 1.0).sqrt(), 0.0)


def divide_by_largest(values: Tensor, *, dim: int | tuple[int, ...]) -> Tensor:
    """Returns values divided by their largest magnitude along `dim`, for formulas that do not depend on it.

    Squares and fourth powers of large float32 values would be infinite. The divisor is a constant to the gradient:
    a function that ignores the scale has the same gradient either way.

    Args:
        values: Anything.
        dim: Axes that share a scale.
    """
    largest = values.detach().abs().amax(dim, keepdim=True)
    return values / torch.where(largest > 0.0, largest, 1.0)


def pool_to_same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two feature maps of one height and width: the larger is average-pooled to the smaller.

    Args:
        student: [B, Cs, H, W].
        teacher: [B, Ct, H', W'].
    """
    if student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return functional.adaptive_avg_pool2d(student, size), functional.adaptive_avg_pool2d(teacher, size)


def targets_like(targets: Tensor, logits: Tensor) -> Tensor:
    """Returns targets that cross-entropy takes with `logits`: labels as they are, shares in the logits' type.

    Args:
        targets: int64 [B], or float [B, C].
        logits: [B, C].
    """
    return targets.to(logits.dtype) if targets.is_floating_point() else targets


def hard_labels(targets: Tensor) -> Tensor:
    """Returns the label of each image, int64 [B].

    Args:
        targets: int64 [B], the labels, or float [B, C], each class's share of a mixed image: its label is the class
            with the largest share, the first of equal ones.
    """
    return targets.argmax(dim=1) if targets.is_floating_point() else targets


def split_at_label(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the label's logit, [B, 1], and those of the other classes, [B, C - 1].

    Args:
        logits: [B, C], two classes or more.
        labels: int64 [B].
    """
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(labels), -1)
    others = others + (others >= labels[:, None])
    return logits.gather(1, labels[:, None]), logits.gather(1, others)
