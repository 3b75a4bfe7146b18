"""Numerics that all losses share: float32 arithmetic, lengths that are never zero, and labels of mixed images.

Some vectors have length 0: a constant row of centred logits, a feature map of zeros, the difference of two equal
embeddings. The losses divide them by 1. The value then equals that of the original authors' code, which adds a small
constant to the length. The gradient keeps its direction and the size that it has without scaling; with the authors'
constants it grows to 1e6 and more, which half precision cannot represent.
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
"""A centred vector counts as zero if its length is at most this many epsilons of the length before centring."""


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision values as float32, and all other values unchanged.

    The gradient is clamped to the range of the original type. Otherwise it could become infinite there.
    """
    if values.dtype not in (torch.float16, torch.bfloat16):
        return values
    widened, largest = values.float(), torch.finfo(values.dtype).max
    if widened.requires_grad:
        widened.register_hook(lambda gradient: gradient.clamp(-largest, largest))  # type: ignore[no-untyped-call]
    return widened


def logit_loss(loss: PairLoss[P]) -> PairLoss[P]:
    """Decorate a loss of two logit tensors.

    The loss then computes in float32 or better, also under autocast, sends no gradient to the teacher, and raises a
    `TeacherError` for tensors of different shapes.

    Args:
        loss: Function `(student [B, C], teacher [B, C], ...) -> scalar`.
    """

    @wraps(loss)
    def guarded(student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if student.shape != teacher.shape:
            raise TeacherError(
                f"student logits have shape {list(student.shape)} and teacher logits {list(teacher.shape)}; both must "
                "be of the same images and classes",
                code="losses.shape_mismatch",
            )
        return _in_float32(loss, student, teacher, *args, **kwargs)

    return guarded


def feature_loss(loss: PairLoss[P]) -> PairLoss[P]:
    """Decorate a loss of two features or embeddings, as `logit_loss` does for logits.

    Only the number of images must agree.

    Args:
        loss: Function `(student [B, ...], teacher [B, ...], ...) -> scalar`.
    """

    @wraps(loss)
    def guarded(student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if len(student) != len(teacher):
            raise TeacherError(
                f"student features are of {len(student)} images and teacher features of {len(teacher)}; both must be "
                "of the same images",
                code="losses.batch_mismatch",
            )
        return _in_float32(loss, student, teacher, *args, **kwargs)

    return guarded


def _in_float32(loss: PairLoss[P], student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    if not torch.is_autocast_enabled(student.device.type):
        return loss(student, teacher, *args, **kwargs)
    # Autocast would compute the matrix products in half precision again.
    with torch.autocast(student.device.type, enabled=False):
        return loss(student, teacher, *args, **kwargs)


def nonzero_length(rest: Tensor, whole: Tensor | float = 0.0, *, dim: int) -> Tensor:
    """Return the Euclidean length of `rest` along `dim`, kept as an axis of size 1, and 1 for vectors of length 0.

    Args:
        rest: Vectors, for example after centring.
        whole: Squared length of the vectors before centring (see `square_sum`). A vector in `rest` that is not longer
            than the rounding error of `whole` counts as 0. By default only exact zeros do.
        dim: Axis of the vectors.
    """
    squared = square_sum(rest, dim=dim)
    flat = squared <= (ROUNDINGS * torch.finfo(rest.dtype).eps) ** 2 * whole
    # The derivative of the root at 0 is infinite, and infinity times 0 is NaN; hence the root of 1.
    return torch.where(flat, 1.0, squared).sqrt()


def square_sum(values: Tensor, *, dim: int) -> Tensor:
    """Return the squared Euclidean length along `dim`, kept as an axis of size 1."""
    return values.square().sum(dim, keepdim=True)


def safe_norm(values: Tensor, *, dim: int) -> Tensor:
    """Return the Euclidean norm along `dim`, whose gradient at 0 is 0.

    Args:
        values: Vectors.
        dim: Axis of the vectors; it is removed.
    """
    squared = values.square().sum(dim)
    return torch.where(squared > 0.0, torch.where(squared > 0.0, squared, 1.0).sqrt(), 0.0)


def divide_by_largest(values: Tensor, *, dim: int | tuple[int, ...]) -> Tensor:
    """Return values divided by their largest magnitude along `dim`, for formulas that do not depend on the scale.

    Squares and fourth powers of large float32 values would be infinite. No gradient flows through the divisor: a
    function that ignores the scale has the same gradient either way.

    Args:
        values: Tensor of any shape.
        dim: Axes that share one divisor.
    """
    largest = values.detach().abs().amax(dim, keepdim=True)
    return values / torch.where(largest > 0.0, largest, 1.0)


def pool_to_same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return two feature maps of the same height and width: the larger is average-pooled to the smaller.

    Args:
        student: Student map [B, Cs, H, W].
        teacher: Teacher map [B, Ct, H', W'].
    """
    if student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return functional.adaptive_avg_pool2d(student, size), functional.adaptive_avg_pool2d(teacher, size)


def targets_like(targets: Tensor, logits: Tensor) -> Tensor:
    """Return targets for a cross-entropy with `logits`: labels unchanged, class shares in the dtype of the logits.

    Args:
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C].
        logits: Logits [B, C].
    """
    return targets.to(logits.dtype) if targets.is_floating_point() else targets


def hard_labels(targets: Tensor) -> Tensor:
    """Return the label of each image, int64 [B].

    Args:
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C]. The label of a mixed
            image is the class with the largest share, the first of equal ones.
    """
    return targets.argmax(dim=1) if targets.is_floating_point() else targets


def split_at_label(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logit of the label, [B, 1], and those of the other classes, [B, C - 1].

    Args:
        logits: Logits [B, C] of at least two classes.
        labels: Labels, int64 [B].
    """
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(labels), -1)
    others = others + (others >= labels[:, None])
    return logits.gather(1, labels[:, None]), logits.gather(1, others)
