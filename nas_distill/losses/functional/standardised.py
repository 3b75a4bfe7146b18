"""Logit standardisation: any logit loss of z-scores instead of logits.

Shapes: B images, C classes.
"""

from __future__ import annotations

import math

from torch import Tensor

from nas_distill.losses.functional.numerics import at_least_float32, nonzero_length, square_sum

_EPSILON = 1e-7
"""Added to the standard deviation, as the authors' code does."""


def standardise(logits: Tensor) -> Tensor:
    """Returns the z-score of each row: (x - mean) / (standard deviation + 1e-7).

    (Sun et al. 2024, arXiv 2403.01427; the deviation is that of a sample, over C - 1, as in the authors' code.) A row
    that is constant up to rounding is centred alone.

    Args:
        logits: [B, C].

    Returns:
        [B, C] in float32 or better.
    """
    logits = at_least_float32(logits)
    rest = logits - logits.mean(dim=1, keepdim=True)
    freedom = math.sqrt(max(logits.shape[1] - 1, 1))
    return rest / (nonzero_length(rest, square_sum(logits.detach(), dim=1), dim=1) / freedom + _EPSILON)
