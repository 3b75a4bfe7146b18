"""Which loss did best among students of about the same size."""

from __future__ import annotations

import json

import pandas as pd

from nas_distill.analysis.effects.by_size import SizeBand, labels_by_size

NO_TEACHER = "none"


def loss_label(losses: str) -> str:
    """Returns a recipe's losses in a few characters, such as "dist+kd (standardised)".

    Args:
        losses: JSON, as in the column `losses` of the table of trials.

    Returns:
        Their names, without those of weight 0; "none" for the control.
    """
    terms = json.loads(losses)
    names = (
        f"{name} (standardised)" if parameters.get("standardise") else name
        for name, parameters in sorted(terms.items())
        if parameters.get("weight") != 0
    )
    return "+".join(names) or NO_TEACHER


def losses_by_size(trials: pd.DataFrame, *, seed: int = 0) -> tuple[SizeBand, ...]:
    """Returns the losses of each band of sizes, smallest students first; see `by_size.labels_by_size`.

    Args:
        trials: Table as `frame.load_frame` returns it.
        seed: Of the bootstrap.
    """
    return labels_by_size(trials, column="losses", label=loss_label, seed=seed)
