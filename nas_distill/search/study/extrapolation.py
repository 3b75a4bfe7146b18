"""What a learning curve that was cut off would have come to: a power law through its tail, kept within bounds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_EXPONENTS = (0.25, 0.5, 1.0, 2.0)
_PRIOR_EXPONENT = 0.5
_POINTS_FOR_A_FIT = 4
_LAST = 3
"""Points among which the end of a noisy curve is taken to lie."""

Floats = NDArray[np.float64]


def extrapolate(curve: Sequence[float], epochs: int) -> float:
    """Returns what a minimised learning curve is expected to be at full fidelity.

    After Domhan et al. 2015 ("Speeding up automatic hyperparameter optimization of deep neural networks by
    extrapolation of learning curves", IJCAI), whose power law `pow3` is y(t) = c + a t^-b. Their Bayesian mixture
    of eleven such models needs many points; what is asked for here is a number that is never absurd after one to
    ten. So b is one of four values, a and c follow by weighted least squares (a point weighs as much as its
    epoch), and

    - with two or three points b is fixed at 1/2, since three unknowns cannot be told from them;
    - the curve is never expected to rise, since the best weights are not given back;
    - it is expected to fall from n epochs to N by at most (drop so far) x log N / log n - 1, that is, not faster
      per doubling of epochs than it has so far;
    - where the fit puts its end now is used, as far as that lies among the last three points: one noisy point
      should not be extrapolated.

    The result moves with the curve: extrapolate(s y + m) = s extrapolate(y) + m for every s > 0.

    Args:
        curve: Values after epochs 1 to n, smaller is better; n >= 1, finite, within +-1e150.
        epochs: Full fidelity N; a curve that has it is not extrapolated.

    Raises:
        ValueError: The curve is empty, or holds what is not finite.
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
    """Returns where a curve scaled to a span of 1, with 0 at its end, stands now, and how far it will fall."""
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
    """Returns squared error, a, c and b of the best y = c + a t^-b with this b."""
    basis = time**-exponent
    weights = time / time.sum()
    mean_basis, mean = float(weights @ basis), float(weights @ scaled)
    variance = float(weights @ (basis - mean_basis) ** 2)
    scale = float(weights @ ((basis - mean_basis) * (scaled - mean))) / variance
    level = mean - scale * mean_basis
    error = float(weights @ (scaled - level - scale * basis) ** 2)
    return error, scale, level, exponent
