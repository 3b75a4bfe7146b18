"""The fully trained students of a run, for rules that compare each with all others without going through all others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.formatting import STANDARD_ERRORS, short_count

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Group = tuple[str, int]
"""A family, and who taught it: the number of an assistant's trial, or `TEACHER`."""

TEACHER = -1

_NUMBERS = (
    "num_params", "top1", "gap_points", "agreement", "train_agreement", "train_divergence_nats",
    "generalisation_gap_points", "feature_cka", "planned_epochs",
)  # fmt: skip
_TEXTS = ("spec_id", "family", "losses", "recipe")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BestBySize:
    """Students by size, and the best of those up to each.

    Attributes:
        sizes: Parameters [K], ascending.
        best: Place of the smallest gap among the first k + 1 [K].
    """

    sizes: Floats
    best: Places

    @classmethod
    def of(cls, places: Places, sizes: Floats, gaps: Floats) -> BestBySize:
        """Returns the ladder of the students at `places`, given all students' sizes and gaps."""
        order = places[np.argsort(sizes[places], kind="stable")]
        lowest = np.minimum.accumulate(gaps[order])
        first = np.r_[True, gaps[order][1:] < lowest[:-1]]
        rungs = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
        return cls(sizes=sizes[order], best=order[rungs])

    def up_to(self, size: float) -> int | None:
        """Returns the place of the best student of at most `size` parameters."""
        count = int(np.searchsorted(self.sizes, size, side="right"))
        return int(self.best[count - 1]) if count else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Students:
    """Arrays [N], in the order of the rows.

    Attributes:
        numbers: Of their trials.
        groups: Family and teacher of each.
        texts: Columns of texts by name; empty where something is not known.
        values: Columns of numbers by name; NaN where something was not measured.
        half: Half of the 95 % interval of each one's top-1 by the validation sample, percentage points.
        divergences: Divergence after each epoch, nats, by number of trial.
        specs: Places of the students of each spec and teacher.
        ladders: Students by size, of each family and teacher.
        everyone: All of them by size.
    """

    numbers: Places
    groups: tuple[Group, ...]
    texts: dict[str, NDArray[np.object_]]
    values: dict[str, Floats]
    half: Floats
    divergences: dict[int, Floats]
    specs: dict[Group, list[int]]
    ladders: dict[Group, BestBySize]
    everyone: BestBySize

    @classmethod
    def of(cls, complete: pd.DataFrame, curves: pd.DataFrame, images: int) -> Students:
        """Returns the students of a table.

        Args:
            complete: Rows of fully trained students with a gap, N.
            curves: Table of curves.
            images: Validation images.
        """
        values = {name: complete[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _NUMBERS}
        texts = {name: complete[name].fillna("").to_numpy(dtype=object) for name in _TEXTS}
        taught_by = complete["assistant"].fillna(TEACHER).to_numpy(dtype=np.int64)
        sizes, gaps = values["num_params"], values["gap_points"]
        groups = tuple((str(family), int(one)) for family, one in zip(texts["family"], taught_by, strict=True))
        by_spec = ((str(spec), int(one)) for spec, one in zip(texts["spec_id"], taught_by, strict=True))
        return cls(
            numbers=complete["number"].to_numpy(dtype=np.int64),
            groups=groups,
            texts=texts,
            values=values,
            half=half_width_points(values["top1"], images),
            divergences={
                int(number): own.to_numpy(dtype=np.float64)  # type: ignore[arg-type]
                for number, own in curves.groupby("number")["divergence_nats"]
            },
            specs=_grouped(by_spec),
            ladders={
                group: BestBySize.of(np.array(places, dtype=np.int64), sizes, gaps)
                for group, places in _grouped(groups).items()
            },
            everyone=BestBySize.of(np.arange(len(complete)), sizes, gaps),
        )

    def apart(self, first: int, second: int) -> float:
        """Returns by how many points the gaps of two students must differ to be told apart by the images."""
        return float(np.hypot(self.half[first], self.half[second]))

    def clearly_better(self, rivals: Iterable[int | None], place: int) -> int | None:
        """Returns the best of `rivals`, if it is better than the student at `place` beyond chance."""
        gaps = self.values["gap_points"]
        rival = min((one for one in rivals if one is not None), key=lambda one: gaps[one], default=None)
        if rival is None or gaps[place] - gaps[rival] <= self.apart(place, rival):
            return None
        return rival

    def is_behind(self, place: int) -> bool:
        """Whether a student's gap to the teacher is above 0 beyond chance."""
        return bool(self.values["gap_points"][place] > self.half[place])

    def named(self, place: int) -> str:
        """Returns a student as evidence names it."""
        size = short_count(self.values["num_params"][place])
        return f"trial {self.numbers[place]} ({self.groups[place][0]}, {size} parameters)"


def half_width_points(top1: Floats, images: int) -> Floats:
    """Returns half of the 95 % interval of accuracies by the sample of images, percentage points.

    By Agresti and Coull (1998): an accuracy of 1 on a few hundred images is not known to the last digit.

    Args:
        top1: Accuracies, 0 to 1, of any shape.
        images: That they were measured on.
    """
    hits = (top1 * images + 2.0) / (images + 4.0)
    half: Floats = 100.0 * STANDARD_ERRORS * np.sqrt(hits * (1.0 - hits) / (images + 4.0))
    return half


def _grouped(keys: Iterable[Group]) -> dict[Group, list[int]]:
    found: dict[Group, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return found
