"""The fully trained students of a run, indexed so that each can be compared with all others in constant time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.formatting import short_count
from nas_distill.analysis.stats import accuracy_half_width_points, difference_half_width, gap_half_width_points

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Group = tuple[str, int]
"""Family (or spec), and the trial number of the assistant that taught it; `TEACHER` if the teacher did."""

TEACHER = -1

_NUMBERS = (
    "num_params", "top1", "gap_points", "agreement", "train_agreement", "train_divergence_nats",
    "generalisation_gap_points", "feature_cka", "planned_epochs", "ece", "ece_noise",
)  # fmt: skip
_TEXTS = ("spec_id", "family", "losses", "recipe")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BestBySize:
    """The best student of at most a given size.

    Attributes:
        sizes: Parameters [K], ascending.
        best: Index of the student with the smallest gap among the k + 1 smallest [K].
    """

    sizes: Floats
    best: Indices

    @classmethod
    def of(cls, indices: Indices, sizes: Floats, gaps: Floats) -> BestBySize:
        """Return the index of some of the students.

        Args:
            indices: Indices of those students [K].
            sizes: Parameters of all students [N].
            gaps: Gaps of all students [N], percentage points.
        """
        order = indices[np.argsort(sizes[indices], kind="stable")]
        lowest = np.minimum.accumulate(gaps[order])
        improves = np.r_[True, gaps[order][1:] < lowest[:-1]]
        latest = np.maximum.accumulate(np.where(improves, np.arange(len(order)), 0))
        return cls(sizes=sizes[order], best=order[latest])

    def up_to(self, size: float) -> int | None:
        """Return the index of the best student of at most `size` parameters; None if there is none."""
        count = int(np.searchsorted(self.sizes, size, side="right"))
        return int(self.best[count - 1]) if count else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Students:
    """N students, in the order of the table's rows.

    Attributes:
        images: Number of validation images.
        numbers: Trial numbers [N].
        groups: Family and teacher of each student.
        texts: Text columns by name [N]; empty text for an unknown value.
        values: Number columns by name [N]; NaN for a value that was not measured.
        half_width_points: Half of the 95 % interval of each top-1 accuracy [N] due to the sample of validation images,
            percentage points.
        gap_half_width_points: Half of the 95 % interval of each gap [N] due to that sample, percentage points.
        teacher_epochs: Epochs that the teacher needed on the same images (`curves.epochs_needed`); None if unknown.
        gap_curves: Gap after each epoch, percentage points, by trial number.
        specs: Indices of the students of each spec and teacher.
        best_by_size: Best students by size, for each family and teacher.
        best_by_size_overall: Best students by size among all.
    """

    images: int
    numbers: Indices
    groups: tuple[Group, ...]
    texts: dict[str, NDArray[np.object_]]
    values: dict[str, Floats]
    half_width_points: Floats
    gap_half_width_points: Floats
    teacher_epochs: int | None
    gap_curves: dict[int, Floats]
    specs: dict[Group, list[int]]
    best_by_size: dict[Group, BestBySize]
    best_by_size_overall: BestBySize

    @classmethod
    def of(
        cls, complete: pd.DataFrame, curves: pd.DataFrame, images: int, teacher_epochs: int | None = None
    ) -> Students:
        """Return the students of a table.

        Args:
            complete: Rows of the N fully trained students with a gap.
            curves: Table of learning curves.
            images: Number of validation images.
            teacher_epochs: Epochs that the teacher needed on the same images; None if unknown.
        """
        values = {name: complete[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _NUMBERS}
        texts = {name: complete[name].fillna("").to_numpy(dtype=object) for name in _TEXTS}
        teachers = complete["assistant"].fillna(TEACHER).to_numpy(dtype=np.int64)
        sizes, gaps = values["num_params"], values["gap_points"]
        groups = tuple((str(family), int(one)) for family, one in zip(texts["family"], teachers, strict=True))
        by_spec = ((str(spec), int(one)) for spec, one in zip(texts["spec_id"], teachers, strict=True))
        return cls(
            images=images,
            numbers=complete["number"].to_numpy(dtype=np.int64),
            groups=groups,
            texts=texts,
            values=values,
            half_width_points=accuracy_half_width_points(values["top1"], images),
            gap_half_width_points=gap_half_width_points(gaps, values["agreement"], images),
            teacher_epochs=teacher_epochs,
            gap_curves={
                int(number): own.to_numpy(dtype=np.float64)  # type: ignore[arg-type]
                for number, own in curves.groupby("number")["gap_points"]
            },
            specs=_grouped(by_spec),
            best_by_size={
                group: BestBySize.of(np.array(indices, dtype=np.int64), sizes, gaps)
                for group, indices in _grouped(groups).items()
            },
            best_by_size_overall=BestBySize.of(np.arange(len(complete)), sizes, gaps),
        )

    def resolvable_difference_points(self, first: int, second: int) -> float:
        """Return the smallest difference of two students' gaps that the validation images can resolve, in points."""
        return difference_half_width(float(self.half_width_points[first]), float(self.half_width_points[second]))

    def clearly_better(self, rivals: Iterable[int | None], index: int) -> int | None:
        """Return the best of `rivals`, if it is better than student `index` by more than the images' noise."""
        gaps = self.values["gap_points"]
        rival = min((one for one in rivals if one is not None), key=lambda one: gaps[one], default=None)
        if rival is None or gaps[index] - gaps[rival] <= self.resolvable_difference_points(index, rival):
            return None
        return rival

    def longer_trainings(self, index: int) -> list[int]:
        """Return the students of the same spec, losses and teacher that were trained for more epochs."""
        epochs, losses = self.values["planned_epochs"], self.texts["losses"]
        same = self.specs[str(self.texts["spec_id"][index]), self.groups[index][1]]
        return [one for one in same if epochs[one] > epochs[index] and losses[one] == losses[index]]

    def smaller_and_longer(self, index: int) -> list[int]:
        """Return the students of its family and teacher with no more parameters and at least twice its epochs."""
        epochs, sizes = self.values["planned_epochs"], self.values["num_params"]
        found = np.flatnonzero((epochs >= 2.0 * epochs[index]) & (sizes <= sizes[index]))
        return [int(one) for one in found if self.groups[one] == self.groups[index]]

    def was_trained_longer(self, index: int) -> bool:
        """Whether the same spec was trained by the same teacher for at least twice as many epochs."""
        epochs = self.values["planned_epochs"]
        return any(epochs[one] >= 2.0 * epochs[index] for one in self.longer_trainings(index))

    def is_behind(self, index: int) -> bool:
        """Whether the student's gap to the teacher is above 0 by more than the images' noise."""
        return bool(self.values["gap_points"][index] > self.gap_half_width_points[index])

    def named(self, index: int) -> str:
        """Return the student's name in evidence: "trial 7 (resnet, 12.3k parameters)"."""
        size = short_count(self.values["num_params"][index])
        return f"trial {self.numbers[index]} ({self.groups[index][0]}, {size} parameters)"


def _grouped(keys: Iterable[Group]) -> dict[Group, list[int]]:
    found: dict[Group, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found
