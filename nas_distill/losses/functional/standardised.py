"""Logit standardisation: z-scores as the input of any loss of logits.

Shapes: B images, C classes.
"""

from __future__ import annotations

import math

from torch import Tensor

from nas_distill.losses.functional.numerics import at_least_float32, nonzero_length, square_sum

_EPSILON = 1e-7
"""Constant added to the standard deviation, as in the authors' code."""


def standardise(logits: Tensor) -> Tensor:
    """Return the z-score of each row: (x - mean) / (standard deviation + 1e-7).

    Sun et al. 2024, arXiv 2403.01427. The standard deviation divides by C - 1, as in the authors' code. A row that is
    constant up to rounding is centred but not scaled.

    Args:
        logits: Logits [B, C].

    Returns:
        z-scores [B, C] in float32 or better.
    """
    logits = at_least_float32(logits)
    rest = logits - logits.mean(dim=1, keepdim=True)
    freedom = math.sqrt(max(logits.shape[1] - 1, 1))
    return rest / (nonzero_length(rest, square_sum(logits.detach(), dim=1), dim=1) / freedom + _EPSILON)
