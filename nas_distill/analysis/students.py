"""The fully trained students of a run as arrays, for rules that compare each with all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.quantities import short_count

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NUMBERS = (
    "num_params", "top1", "gap_points", "train_agreement", "train_divergence_nats", "generalisation_gap_points",
    "feature_cka", "planned_epochs",
)  # fmt: skip
_ERRORS = 1.96
"""Standard errors to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Students:
    """Arrays [N], in the order of the rows.

    Attributes:
        numbers: Of their trials.
        specs: `spec_id`.
        families: Of their specs.
        losses: JSON.
        values: Columns of the table by name; NaN where something was not measured.
        half: Half of the 95 % interval of each one's top-1 by the validation sample, percentage points.
        divergences: Divergence after each epoch, nats, by number.
    """

    numbers: NDArray[np.int64]
    specs: NDArray[np.object_]
    families: NDArray[np.object_]
    losses: NDArray[np.object_]
    values: dict[str, Floats]
    half: Floats
    divergences: dict[int, Floats]

    @classmethod
    def of(cls, complete: pd.DataFrame, curves: pd.DataFrame, images: int) -> Students:
        """Returns the students of a table.

        Args:
            complete: Rows of fully trained students, N.
            curves: Table of curves.
            images: Validation images.
        """
        values = {name: complete[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _NUMBERS}
        # Agresti and Coull 1998: an accuracy of 1 on a few hundred images is not known to the last digit.
        hits = (values["top1"] * images + 2.0) / (images + 4.0)
        texts = {name: complete[name].fillna("").to_numpy(dtype=object) for name in ("spec_id", "family", "losses")}
        return cls(
            numbers=complete["number"].to_numpy(dtype=np.int64),
            specs=texts["spec_id"],
            families=texts["family"],
            losses=texts["losses"],
            values=values,
            half=100.0 * _ERRORS * np.sqrt(hits * (1.0 - hits) / (images + 4.0)),
            divergences={
                int(number): own.to_numpy(dtype=np.float64)  # type: ignore[arg-type]
                for number, own in curves.groupby("number")["divergence_nats"]
            },
        )

    def apart(self, first: int, second: int) -> float:
        """Returns by how many points the gaps of two students must differ to be told apart by the images."""
        return float(np.hypot(self.half[first], self.half[second]))

    def best(self, mask: Mask) -> int | None:
        """Returns the place of the smallest gap within a mask [N]; None when it is empty."""
        places = np.flatnonzero(mask)
        return int(places[np.argmin(self.values["gap_points"][places])]) if len(places) else None

    def clearly_better(self, mask: Mask, place: int) -> int | None:
        """Returns the best student within a mask, if it is better than the one at `place` beyond chance."""
        rival = self.best(mask)
        gaps = self.values["gap_points"]
        if rival is None or gaps[place] - gaps[rival] <= self.apart(place, rival):
            return None
        return rival

    def named(self, place: int) -> str:
        """Returns a student as evidence names it."""
        size = short_count(self.values["num_params"][place])
        return f"trial {self.numbers[place]} ({self.families[place]}, {size} parameters)"
