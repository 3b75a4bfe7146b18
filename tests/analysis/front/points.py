"""Random points for tests of fronts."""

from __future__ import annotations

import numpy as np

from nas_distill.analysis.front.arithmetic import Floats


def make_points(count: int, width: int, kind: str, *, seed: int = 0) -> Floats:
    """Return `count` points in [0, 1]^width, of which one in a hundred has a NaN and one in a hundred is a duplicate.

    The kind "spread" fills the cube, "tied" lies on a coarse grid, and nine tenths of a "front" are non-dominated.
    """
    generator = np.random.default_rng(seed)
    values = generator.random((count, width))
    if kind == "tied":
        values = np.round(values * 20) / 20 + (generator.random((count, 1)) < 0.99)
    elif kind == "front":
        values = 1.0 - values / np.linalg.norm(values, axis=1, keepdims=True)
        values[: count // 10] += 0.05
    some = count // 100
    values[-some:] = values[:some]
    values[generator.permutation(count)[:some], generator.integers(width, size=some)] = np.nan
    return values
