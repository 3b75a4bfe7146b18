"""Per-class release: which classes the teacher hurts, on training images that nobody trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtr
from torch import Tensor
from torch.nn.functional import softmax

from nas_distill.losses.functional.numerics import wide

LEAST_IMAGES = 5
"""Of a class that are held out; with fewer it is never released."""

LARGEST_SHARE = 0.5
"""Of a class that is held out."""


def holdout(labels: Tensor, share: float, seed: int, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns which images are trained on and which are held out, class by class.

    Each class gives the nearest whole number to `share` of its images, at most half of them.
    """
    positions = torch.arange(len(labels)) if among is None else among.cpu().sort().values
    generator = torch.Generator().manual_seed(seed)
    shuffled = positions[torch.randperm(len(positions), generator=generator)]
    by_class = shuffled[labels.cpu()[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels.cpu()[positions])
    rank = torch.arange(len(by_class)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    wanted = torch.minimum((share * counts + 0.5).floor().long(), counts // 2)
    is_held = rank < wanted.repeat_interleave(counts)
    return by_class[~is_held].sort().values, by_class[is_held].sort().values


def alignments(student_logits: Tensor, loss: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
    with torch.enable_grad():
        logits = wide(student_logits).detach().clone().requires_grad_()
        (pull,) = torch.autograd.grad(loss(logits), logits)
    onehot = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0) if not labels.is_floating_point() else labels
    return len(logits) * ((softmax(logits.detach(), dim=1) - onehot) * pull).sum(dim=1)


def p_values(values: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int):
    counts = np.bincount(labels, minlength=num_classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.bincount(labels, weights=values, minlength=num_classes) / counts
        squares = np.bincount(labels, weights=(values - means[labels]) ** 2, minlength=num_classes)
        t = means / np.sqrt(squares / (counts - 1) / counts)
    return counts, means, stdtr(np.maximum(counts - 1, 1), t)
