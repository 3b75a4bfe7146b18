"""Fit a temperature to logits (Guo et al. 2017, arXiv 1706.04599, section 4.2), and cross-fit it. Pure functions.

Dividing all logits by one temperature changes probabilities and not the predicted class. Their maximum likelihood is
not robust: it drives the temperature of a network without mistakes to 0, because no image says how often it will be
wrong. So half an image more counts, whose label is any class with equal probability: the add-half estimate of
Krichevsky and Trofimov (1981, IEEE Transactions on Information Theory 27), as Platt (1999) smooths the labels when he
calibrates support vector machines. And a temperature is only used if it lowers the negative log-likelihood of images
that it was not fitted on.

Shapes: N images, C classes; logits [N, C] of any float type, labels int64 [N].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

LOWEST, HIGHEST = 0.01, 100.0
"""Bounds of a temperature."""

PARTS = 5
"""Number of parts for cross-fitting."""

_STEPS = 64
_EXTRA_IMAGES = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperatures:
    """Temperatures that were fitted on N images.

    Attributes:
        images: N.
        final: Temperature that is fitted on all images; 1 if no temperature lowered the cross-validated likelihood.
        by_part: Temperature for the images of each part, fitted on the other parts. Part p consists of the images at
            positions i with i mod parts = p. All are 1 if `final` is 1 for the reason above.
    """

    images: int
    final: float
    by_part: tuple[float, ...]

    def cross_fitted(self, positions: Tensor) -> Tensor:
        """Return the temperature for each image that did not see this image, float64.

        Args:
            positions: Positions of the images among those that the temperatures were fitted on, int64 [M].
        """
        return torch.tensor(self.by_part, dtype=torch.float64)[positions.cpu() % len(self.by_part)]


def fit_temperatures(logits: Tensor, labels: Tensor, positions: Tensor | None = None) -> Temperatures:
    """Return the temperature that is fitted on all images, and those that are fitted without one part.

    Args:
        logits: Logits [N, C] of images that the network was not trained on.
        labels: Their labels, int64 [N], on the same device.
        positions: Position of each image, int64 [N], which decides its part. Default: 0 to N-1.
    """
    images = len(labels)
    places = torch.arange(images) if positions is None else positions.cpu()
    part = (places % PARTS).to(labels.device)
    unchanged = Temperatures(images=images, final=1.0, by_part=(1.0,) * PARTS)
    if images == 0 or int((part == part[0]).all()):
        return unchanged  # nothing to fit one of the parts on
    losses = _Losses(logits.double(), labels)
    by_part = tuple(losses.best(part != number) for number in range(PARTS))
    fitted = Temperatures(images=images, final=losses.best(torch.ones_like(part, dtype=torch.bool)), by_part=by_part)
    own = fitted.cross_fitted(places).to(labels.device)
    return fitted if _nll(logits.double() / own[:, None], labels) < _nll(logits.double(), labels) else unchanged


class _Losses:
    """Losses of images over a grid of temperatures, evenly spaced in log T."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self._logs = torch.linspace(math.log(LOWEST), math.log(HIGHEST), _STEPS + 1, dtype=torch.float64)
        own, even = [], []
        for temperature in self._logs.exp().tolist():
            likelihoods = log_softmax(logits / temperature, dim=1)
            own.append(nll_loss(likelihoods, labels, reduction="none"))
            even.append(-likelihoods.mean(dim=1))
        self._own, self._even = torch.stack(own), torch.stack(even)

    def best(self, chosen: Tensor) -> float:
        """Return the best temperature for some of the images, given as bool [N]; at least one is chosen."""
        loss = self._own[:, chosen].sum(dim=1) + _EXTRA_IMAGES * self._even[:, chosen].mean(dim=1)
        place = int(loss.argmin())
        offset = 0.0
        if 0 < place < _STEPS:  # the vertex of the parabola through three points
            before, least, after = loss[place - 1 : place + 2].tolist()
            curvature = before - 2.0 * least + after
            offset = 0.5 * (before - after) / curvature if curvature > 0 else 0.0
        step = float(self._logs[1] - self._logs[0])
        found = math.exp(float(self._logs[place]) + offset * step)
        return min(max(found, LOWEST), HIGHEST)  # rounding can exceed a bound


def _nll(logits: Tensor, labels: Tensor) -> float:
    return float(nll_loss(log_softmax(logits, dim=1), labels))
