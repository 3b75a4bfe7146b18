"""Small tables of learning curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.search_quality.curve_table import Row
from nas_distill.records import Cost, Recipe, StudentSpec

EPOCHS = 4
RECIPE = Recipe(losses={}, label_weight=1.0, epochs=EPOCHS)


def make_row(
    candidate: int,
    *,
    gaps: Sequence[float] = (40.0, 30.0, 20.0, 10.0),
    nlls: Sequence[float] | None = None,
    seconds: float = 1.0,
    patience: int = 0,
    error: str = "",
) -> Row:
    """Return the row of a candidate whose size grows with its number."""
    recipe = RECIPE.model_copy(update={"early_stopping_patience": patience})
    values = np.array(gaps)
    return Row(
        candidate=candidate,
        replicate=0,
        seed=candidate,
        parameters={"width": candidate},
        spec=make_spec(candidate),
        recipe=recipe,
        cost=make_cost(candidate),
        commit="abc",
        error=error,
        curves={
            "gap_points": values,
            "raw_gap_points": values + 1.0,
            "divergence_nats": values / 50,
            "nll_nats": np.array(nlls) if nlls is not None else values / 40,
            "wall_time_s": np.full(len(values), 2 * seconds),
            "cpu_time_s": np.full(len(values), seconds),
        },
    )


def make_spec(candidate: int) -> StudentSpec:
    return StudentSpec(architecture="small_resnet", arguments={"widths": (candidate + 1,), "depths": (1,)})


def make_cost(candidate: int) -> Cost:
    return Cost(num_params=1000 * (candidate + 1), macs=10_000 * (candidate + 1), size_bytes=4000 * (candidate + 1))
