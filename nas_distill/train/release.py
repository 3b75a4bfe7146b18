"""Per-class release: which classes the teacher hurts, found on training images that nobody trains on.

Of each such image it is measured whether a step along the teacher's pull lowers or raises the cross-entropy with its
label. A class on whose images it raises it, significantly and twice in a row, is released from the teacher. Neither
the validation split nor an image that is trained on has a say.

The idea that an auxiliary loss should count only where its gradient agrees with the main loss's is Du et al. 2018's
(arXiv 1812.02224, one cosine for a whole task); classes that should not be taught are Zhu et al. 2022's ("Teach Less,
Learn More", whose own criterion is another). The rule is ours.

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
"""Held-out images of a class that it takes to release it."""

_WAY_OUT = "raise it, train on more images, or leave release out"


def holdout(labels: Tensor, share: float, seed: int, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return which images are trained on and which are held out, class by class.

    Of each class the whole number nearest to `share` of its images is held out, at most half of them. A function of
    the arguments alone.

    Args:
        labels: int64 [N].
        share: Of each class, 0 to 0.5.
        seed: Of the choice.
        among: int64, positions that are divided, each at most once; all by default.

    Returns:
        int64 positions, ascending, on the CPU: those that are trained on and those that are held out.
    """
    labels = labels.cpu()
    positions = torch.arange(len(labels)) if among is None else among.cpu().sort().values
    shuffled = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(seed))]
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels[positions])
    rank = torch.arange(len(by_class)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    is_held = rank < _held_out(counts, share).repeat_interleave(counts)
    return by_class[~is_held].sort().values, by_class[is_held].sort().values


def check_holdout(labels: Tensor, share: float, way_out: str | None = None) -> None:
    """Check that some class has as many held-out images as its release takes.

    Args:
        labels: int64 [N], of the images that are divided.
        share: As for `holdout`.
        way_out: What is advised where none has; by default what suits a search.

    Raises:
        ConfigError: None has: nothing could be released, and the held-out images would be lost for nothing.
    """
    most = int(_held_out(torch.bincount(labels, minlength=1), share).max())
    if most < LEAST_IMAGES:
        raise ConfigError(
            f"recipe.adaptive.release_holdout: {share:g} holds out at most {most} training images of a class, and a "
            f"release takes {LEAST_IMAGES}; {way_out or _WAY_OUT}"
        )


def _held_out(counts: Tensor, share: float) -> Tensor:
    """Return how many of each class's images are held out."""
    return torch.minimum((share * counts.double() + 0.5).floor().long(), counts // 2)


def alignments(
    student_logits: Tensor,
    loss: Callable[[Tensor], Tensor],
    targets: Tensor,
    teacher_logits: Tensor | None = None,
) -> Tensor:
    """Return for each image how far the teacher's pull lowers its cross-entropy; below 0 it raises it.

    a_i = (softmax(s_i) - y_i) . M dL/ds_i: with a step s_i - eta M dL/ds_i along the pull the cross-entropy changes by
    -eta a_i, to first order. Where the teacher's answer is the label, a_i is at least 0: a pull to the right answer,
    less sure than the student's, costs likelihood and no accuracy, and every teacher softens what a student knows.

    Args:
        student_logits: [M, C], of the network in eval mode.
        loss: The teacher's weighted losses of logits [M, C] of the student, a mean over images that depends on them.
        targets: int64 [M], or float [M, C], each class's share of a mixed image, whose label is the largest.
        teacher_logits: [M, C], of the same views. Without them every pull counts as it is, and classes that the
            student knows well are released though the teacher knows them too.

    Returns:
        float32 [M] (float64 of float64), without a gradient.
    """
    # A copy, since what was computed in inference mode can have no gradient.
    logits = at_least_float32(student_logits.detach()).clone().requires_grad_()
    with torch.enable_grad():
        (pull,) = torch.autograd.grad(loss(logits), logits)
    shares = targets if targets.is_floating_point() else one_hot(targets, logits.shape[1])
    aligned = len(logits) * ((softmax(logits.detach(), dim=1) - shares.to(logits.dtype)) * pull).sum(dim=1)
    if teacher_logits is None:
        return aligned
    is_right = teacher_logits.argmax(dim=1) == hard_labels(targets)
    return torch.where(is_right, aligned.clamp_min(0.0), aligned)


class ReleaseWatch:
    """Decides from check to check which classes are released.

    A class is suspected when the mean of its images' alignments is below 0: one-sided t-test at `level` divided by the
    number of classes, so that `level` holds for one check of all of them (Bonferroni). Suspected at two checks in a
    row, it is released, and stays so.

    Args:
        num_classes: C.
        level: Of one check, above 0, below 1.

    Attributes:
        released: bool [C], on the CPU.
    """

    def __init__(self, num_classes: int, level: float) -> None:
        self._level = level / num_classes
        self._suspected = torch.zeros(num_classes, dtype=torch.bool)
        self.released = torch.zeros(num_classes, dtype=torch.bool)

    def update(self, aligned: Tensor, labels: Tensor) -> list[int]:
        """Take in one check; returns the classes that it releases, ascending.

        Args:
            aligned: float [M], as `alignments` returns it, of all held-out images. A class with a value that is not
                finite is not suspected.
            labels: int64 [M].
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
        """Goes back to a `state()`.

        Raises:
            KeyError: It is the state of something else.
            ValueError: It is that of other classes.
        """
        parts = {name: state[name].cpu().bool() for name in ("suspected", "released")}
        if any(part.shape != self.released.shape for part in parts.values()):
            raise ValueError(f"a release of {len(parts['released'])} classes, {len(self.released)} are watched")
        self._suspected, self.released = parts["suspected"], parts["released"]


def _below_zero(
    values: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int, level: float
) -> NDArray[np.bool_]:
    """Return for which classes the mean is below 0 by a one-sided t-test at `level`, [C]."""
    counts = np.bincount(labels, minlength=num_classes)
    # 0 / 0 where a class has no image, and a class whose values are all the same: NaN is below nothing.
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.bincount(labels, weights=values, minlength=num_classes) / counts
        squares = np.bincount(labels, weights=(values - means[labels]) ** 2, minlength=num_classes)
        errors = np.sqrt(squares / (counts - 1) / counts)
        is_below: NDArray[np.bool_] = (means < 0) & ((errors == 0) | (stdtr(counts - 1, means / errors) <= level))
    return is_below & (counts >= LEAST_IMAGES)
