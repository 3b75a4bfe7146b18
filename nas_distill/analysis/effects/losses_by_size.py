"""Find the best loss among students of about the same size."""

from __future__ import annotations

import pandas as pd

from nas_distill.analysis.effects.by_size import BandComparison, labels_by_size
from nas_distill.analysis.trials.cells import Losses, parse_losses

NO_TEACHER = "none"


def loss_label(cell: str) -> str:
    """Return the label of the losses in a cell of the column `losses`; see `terms_label`."""
    return terms_label(parse_losses(cell))


def terms_label(losses: Losses) -> str:
    """Return a short label of a recipe's losses, such as "dist+kd (standardised)".

    Args:
        losses: Parameters of each loss, by name (`Recipe.losses`).

    Returns:
        Names of the losses with a weight other than 0; "none" for training without the teacher.
    """
    names = (
        f"{name} (standardised)" if parameters.get("standardise") else name
        for name, parameters in sorted(losses.items())
        if parameters.get("weight") != 0
    )
    return "+".join(names) or NO_TEACHER


def losses_by_size(trials: pd.DataFrame, *, seed: int = 0) -> tuple[BandComparison, ...]:
    """Return the losses of each band of sizes, smallest students first; see `by_size.labels_by_size`.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        seed: Seed of the bootstrap.
    """
    return labels_by_size(trials, column="losses", label=loss_label, seed=seed)
