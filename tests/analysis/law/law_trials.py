"""Trials whose gaps follow a known capacity law."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas_distill.analysis.trials.study_reader import COLUMNS

FLOORS, RISES, EXPONENT, REFERENCE = {"a": 1.0, "b": -1.0}, {"a": 6.0, "b": 10.0}, 0.6, 10_000.0
FEW = 60
"""Resamples: few, but enough for the intervals of tests."""


def true_gap(size: float, family: str) -> float:
    return float(FLOORS[family] + RISES[family] * (size / REFERENCE) ** -EXPONENT)


def make_trials(count: int = 80, *, noise: float = 0.3, seed: int = 0, **columns: object) -> pd.DataFrame:
    """Return students of two families on a known law with Gaussian noise, percentage points."""
    generator = np.random.default_rng(seed)
    sizes = np.ceil(REFERENCE * np.exp(generator.normal(0.0, 1.2, count)))
    families = np.array(["a", "b"])[np.arange(count) % 2]
    gaps = [true_gap(size, family) for size, family in zip(sizes, families, strict=True)]
    rows = {
        "number": range(count),
        "status": "complete",
        "family": families,
        "num_params": sizes.astype(np.int64),
        "macs": 30 * sizes.astype(np.int64),
        "gap_points": np.array(gaps) + generator.normal(0.0, noise, count),
    }
    return pd.DataFrame({**rows, **columns}).reindex(columns=list(COLUMNS)).astype(dict(COLUMNS))
