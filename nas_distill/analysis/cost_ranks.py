"""Tell whether parameters, multiply-accumulates and latency order the students of a run alike."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

Floats = NDArray[np.float64]

_SIZES = {"macs": "MACs", "num_params": "parameters"}
_CLEARLY = 1.1
_MIN_STUDENTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRanks:
    """How the latency of the students of a run goes with their size.

    Attributes:
        students: Number of students with a latency; networks that were trained several times count once.
        tau: Kendall's rank correlation tau-b with the latency, -1 to 1, by "macs" and "num_params".
        reversals: Share of the pairs of students that the latency orders the other way round, 0 to 1.
        example: A student that is smaller and slower than another one, in words; empty if there is none.
    """

    students: int
    tau: dict[str, float]
    reversals: dict[str, float]
    example: str

    def sentences(self) -> str:
        """Return the comparison in words."""
        parts = [
            f"{100.0 * self.reversals[name]:.0f} % of the pairs by {title} (Kendall's tau {self.tau[name]:.2f})"
            for name, title in _SIZES.items()
        ]
        text = f"Latency reverses the order of {' and '.join(parts)}, over {self.students} networks."
        return f"{text} {self.example}".strip()


def compare_costs(trials: pd.DataFrame) -> CostRanks | None:
    """Return how latency goes with size; None for fewer than three measured networks of different sizes.

    Args:
        trials: Table of trials (`analysis.trials.columns.COLUMNS`).
    """
    known = trials.dropna(subset=["latency_ms", "macs", "num_params"])
    known = known.drop_duplicates(["macs", "num_params", "latency_ms"]).sort_values("number")
    if len(known) < _MIN_STUDENTS or any(known[name].nunique() < 2 for name in (*_SIZES, "latency_ms")):
        return None
    latency = known["latency_ms"].to_numpy(dtype=np.float64)
    sizes = {name: known[name].to_numpy(dtype=np.float64) for name in _SIZES}
    return CostRanks(
        students=len(known),
        tau={name: float(kendalltau(values, latency).statistic) for name, values in sizes.items()},
        reversals={name: _reversals(values, latency) for name, values in sizes.items()},
        example=_example(known["number"].astype(int).tolist(), sizes["macs"], latency),
    )


def _reversals(sizes: Floats, latency: Floats) -> float:
    pairs = list(combinations(range(len(sizes)), 2))
    found = sum(bool((sizes[a] - sizes[b]) * (latency[a] - latency[b]) < 0) for a, b in pairs)
    return found / len(pairs)


def _example(numbers: list[int], macs: Floats, latency: Floats) -> str:
    """Return the pair with the largest disagreement, if both ratios are clear."""
    best, text = 1.0, ""
    for small in range(len(numbers)):
        for large in range(len(numbers)):
            fewer, slower = macs[large] / max(macs[small], 1.0), latency[small] / latency[large]
            if min(fewer, slower) > _CLEARLY and fewer * slower > best:
                best = fewer * slower
                text = (
                    f"Trial {numbers[small]} has {fewer:.1f} times fewer MACs than trial {numbers[large]} and takes "
                    f"{slower:.1f} times as long."
                )
    return text
