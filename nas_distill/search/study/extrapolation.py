"""Extrapolation of an interrupted learning curve by a bounded power law. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_EXPONENTS = (0.25, 0.5, 1.0, 2.0)
_PRIOR_EXPONENT = 0.5
_POINTS_FOR_A_FIT = 4
_LAST = 3
"""Number of last points whose range bounds the current value of a noisy curve."""

Floats = NDArray[np.float64]


def extrapolate(curve: Sequence[float], epochs: int) -> float:
    """Return the expected value of a minimised learning curve at full fidelity.

    After Domhan et al. 2015 ("Speeding up automatic hyperparameter optimization of deep neural networks by
    extrapolation of learning curves", IJCAI), whose power law `pow3` is y(t) = c + a t^-b. Their Bayesian mixture of
    eleven models needs many points; this function must return a plausible number after one to ten. So b is one of
    four values, a and c are fitted by weighted least squares (the weight of a point is its epoch), and

    - with two or three points b is fixed at 1/2, since they do not determine three unknowns;
    - the curve never rises;
    - from epoch n to epoch N it falls by at most (drop so far) x (log N / log n - 1), that is, not faster per
      doubling of epochs than before;
    - it starts from the fitted value at epoch n, clipped to the range of the last three points, so that a single
      noisy point is not extrapolated.

    The result is equivariant: extrapolate(s y + m) = s extrapolate(y) + m for every s > 0.

    Args:
        curve: Finite values after epochs 1 to n, within +-1e150; smaller is better; n >= 1.
        epochs: Full fidelity N; a curve of at least N epochs is not extrapolated.

    Raises:
        ValueError: The curve is empty, or a value is not finite.
    """
    values = np.asarray(curve, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a curve of at least one finite value is needed, not {list(curve)!r:.80}")
    done = len(values)
    span = float(np.ptp(values))
    if done >= epochs or done == 1 or span == 0.0:
        return float(values[-1])
    end, fall = _fit((values - values[-1]) / span, done, epochs)
    return float(values[-1] + span * (end - fall))


def _fit(scaled: Floats, done: int, epochs: int) -> tuple[float, float]:
    """Return the current value and the expected fall of a curve that is scaled to a range of 1 and ends at 0."""
    exponents = _EXPONENTS if done >= _POINTS_FOR_A_FIT else (_PRIOR_EXPONENT,)
    time = np.arange(1, done + 1, dtype=np.float64)
    fits = [_power_law(scaled, time, exponent) for exponent in exponents]
    _, scale, level, exponent = min(fits)
    now = level + scale * done**-exponent
    end = float(np.clip(now, scaled[-_LAST:].min(), scaled[-_LAST:].max()))
    drop_so_far = max(float(scaled[0]) - end, 0.0)
    most = drop_so_far * (np.log(epochs) / np.log(done) - 1.0)
    fall = scale * (done**-exponent - float(epochs) ** -exponent)
    return end, float(np.clip(fall, 0.0, most))


def _power_law(scaled: Floats, time: Floats, exponent: float) -> tuple[float, float, float, float]:
    """Return the squared error, a, c and b of the best fit y = c + a t^-b with a given b."""
    basis = time**-exponent
    weights = time / time.sum()
    mean_basis, mean = float(weights @ basis), float(weights @ scaled)
    variance = float(weights @ (basis - mean_basis) ** 2)
    scale = float(weights @ ((basis - mean_basis) * (scaled - mean))) / variance
    level = mean - scale * mean_basis
    error = float(weights @ (scaled - level - scale * basis) ** 2)
    return error, scale, level, exponent
