"""Per-class release: find the classes on which the teacher harms the student, on held-out training images.

For each held-out image, we measure whether a step along the negative gradient of the teacher losses lowers or raises
the cross-entropy with the label. A class on whose images it raises it, significantly and in two checks in a row, is
released from the teacher. Neither the validation split nor images that are trained on are used.

Du et al. 2018 (arXiv 1812.02224) use an auxiliary loss only where its gradient agrees with that of the main loss, with
one cosine for a whole task. Zhu et al. 2022 ("Teach Less, Learn More") exclude classes from distillation by another
criterion. The rule in this module is our own.

Shapes: N images of a split, M held-out images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtr
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from nas_distill.errors import ConfigError
from nas_distill.losses.functional.numerics import at_least_float32, hard_labels

LEAST_IMAGES = 5
"""Smallest number of held-out images of a class that can be released."""

_FIX = "raise it, train on more images, or set recipe.adaptive.release to false"


def holdout(labels: Tensor, share: float, seed: int, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split images into those to train on and those to hold out, stratified by class.

    The nearest whole number to `share` of the images of each class is held out, at most half of them. The result is a
    function of the arguments.

    Args:
        labels: Labels, int64 [N].
        share: Share of each class to hold out, 0 to 0.5.
        seed: Seed of the choice.
        among: Distinct positions to split, int64. Default: all.

    Returns:
        Positions to train on and positions to hold out, int64, ascending, on the CPU.
    """
    labels = labels.cpu()
    positions = torch.arange(len(labels)) if among is None else among.cpu().sort().values
    shuffled = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(seed))]
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels[positions])
    rank = torch.arange(len(by_class)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    is_held = rank < _held_out(counts, share).repeat_interleave(counts)
    return by_class[~is_held].sort().values, by_class[is_held].sort().values


def check_holdout(labels: Tensor, share: float, fix: str | None = None) -> None:
    """Check that at least one class has enough held-out images to be released.

    Args:
        labels: Labels of the images to split, int64 [N].
        share: Share of each class to hold out, 0 to 0.5.
        fix: Suggested fix for the error message. Default: one that fits a search.

    Raises:
        ConfigError: No class has enough. Images would be held out without any use.
    """
    most = int(_held_out(torch.bincount(labels, minlength=1), share).max())
    if most < LEAST_IMAGES:
        raise ConfigError(
            f"{share:g} holds out at most {most} training images of a class, and a class needs {LEAST_IMAGES} to be "
            f"released; {fix or _FIX}",
            code="train.holdout_too_small",
            field="recipe.adaptive.release_holdout",
        )


def _held_out(counts: Tensor, share: float) -> Tensor:
    """Return the number of images to hold out of each class."""
    return torch.minimum((share * counts.double() + 0.5).floor().long(), counts // 2)


def alignments(
    student_logits: Tensor,
    loss: Callable[[Tensor], Tensor],
    targets: Tensor,
    teacher_logits: Tensor | None = None,
) -> Tensor:
    """Return for each image how much the teacher losses lower its cross-entropy; they raise it where it is negative.

    a_i = (softmax(s_i) - y_i) . M dL/ds_i. After a step s_i - eta M dL/ds_i against the gradient of the teacher losses,
    the cross-entropy changes by -eta a_i to first order. Where the teacher predicts the label, a_i is clamped to at
    least 0: a teacher that is correct but less confident than the student lowers the likelihood and not the accuracy,
    and every teacher is less confident on what a student has learned well.

    Args:
        student_logits: Logits of the network in eval mode, [M, C].
        loss: Weighted sum of the teacher losses as a function of the student's logits [M, C]; a mean over images.
        targets: Labels, int64 [M], or the share of each class in mixed images, float [M, C]; the largest is the label.
        teacher_logits: The teacher's logits of the same views, [M, C]. Without them nothing is clamped, and classes
            that student and teacher both know well are released.

    Returns:
        Alignments a_i without a gradient, float32 [M] (float64 for float64 logits).
    """
    # A copy, because tensors from inference mode cannot require a gradient.
    logits = at_least_float32(student_logits.detach()).clone().requires_grad_()
    with torch.enable_grad():
        (teacher_gradient,) = torch.autograd.grad(loss(logits), logits)
    shares = targets if targets.is_floating_point() else one_hot(targets, logits.shape[1])
    aligned = len(logits) * ((softmax(logits.detach(), dim=1) - shares.to(logits.dtype)) * teacher_gradient).sum(dim=1)
    if teacher_logits is None:
        return aligned
    is_right = teacher_logits.argmax(dim=1) == hard_labels(targets)
    return torch.where(is_right, aligned.clamp_min(0.0), aligned)


class ReleaseWatch:
    """Decides which classes are released, from one check per epoch.

    A class is suspected if the mean alignment of its images is below 0, by a one-sided t-test at `level` divided by the
    number of classes (Bonferroni), so that `level` holds for one check of all classes. A class that is suspected in two
    checks in a row is released for the rest of the training.

    Args:
        num_classes: Number of classes C.
        level: Significance level of one check, above 0, below 1.

    Attributes:
        released: Whether each class is released, bool [C], on the CPU.
    """

    def __init__(self, num_classes: int, level: float) -> None:
        self._level = level / num_classes
        self._suspected = torch.zeros(num_classes, dtype=torch.bool)
        self.released = torch.zeros(num_classes, dtype=torch.bool)

    def update(self, aligned: Tensor, labels: Tensor) -> list[int]:
        """Update the released classes by one check, and return the newly released ones, ascending.

        Args:
            aligned: Alignments of all held-out images, as `alignments` returns them, float [M]. A class with a value
                that is not finite is not suspected.
            labels: Labels of these images, int64 [M].
        """
        values, classes = aligned.detach().cpu().double().numpy(), labels.cpu().numpy()
        suspected = torch.from_numpy(_below_zero(values, classes, len(self.released), self._level))
        new = suspected & self._suspected & ~self.released
        self._suspected = suspected
        self.released = self.released | new
        found: list[int] = new.nonzero().flatten().tolist()
        return found

    def state(self) -> dict[str, Any]:
        """Return everything that changes, for `save_state`."""
        return {"suspected": self._suspected, "released": self.released}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`.

        Raises:
            KeyError: The state is not one of `ReleaseWatch`.
            ValueError: The state has another number of classes.
        """
        parts = {name: state[name].cpu().bool() for name in ("suspected", "released")}
        if any(part.shape != self.released.shape for part in parts.values()):
            raise ValueError(f"the state has {len(parts['released'])} classes, not {len(self.released)}")
        self._suspected, self.released = parts["suspected"], parts["released"]


def _below_zero(
    values: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int, level: float
) -> NDArray[np.bool_]:
    """Return whether the mean of each class is below 0 by a one-sided t-test at `level`, bool [C]."""
    counts = np.bincount(labels, minlength=num_classes)
    # 0 / 0 for a class without images, and for one whose values are all equal. Comparisons with NaN are false.
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.bincount(labels, weights=values, minlength=num_classes) / counts
        squares = np.bincount(labels, weights=(values - means[labels]) ** 2, minlength=num_classes)
        errors = np.sqrt(squares / (counts - 1) / counts)
        is_below: NDArray[np.bool_] = (means < 0) & ((errors == 0) | (stdtr(counts - 1, means / errors) <= level))
    return is_below & (counts >= LEAST_IMAGES)
