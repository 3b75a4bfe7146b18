"""Check a capacity law on students that are larger than those it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas_distill.analysis.formatting import size_text
from nas_distill.analysis.law.api import RESAMPLES, LawError, fit_capacity_law, law_students
from nas_distill.analysis.law.wording import SizeName, Subject

LEFT_OUT = 0.25
"""Share of the students that are held out, the largest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """How the law of the smaller students predicts the larger ones.

    Attributes:
        size: Column that is the size.
        level: Nominal coverage of the predictive interval, 0 to 1.
        fitted: Number of students that the law was fitted to.
        left_out: Number of larger students.
        edge: Largest fitted size.
        covered: Share of the larger students within the predictive interval, 0 to 1.
        below: Share of them below it, 0 to 1.
        above: Share of them above it, 0 to 1.
        error_points: Median of |gap - law| over them, percentage points.
        bias_points: Median of gap - law over them, percentage points; positive if their gaps exceed the law.
    """

    size: SizeName
    level: float
    fitted: int
    left_out: int
    edge: float
    covered: float
    below: float
    above: float
    error_points: float
    bias_points: float

    @property
    def sentence(self) -> str:
        """The result as a sentence."""
        return (
            f"Fitted to the {self.fitted} students of at most {size_text(self.size, self.edge)}, the law's "
            f"{100.0 * self.level:g} % interval for a new student contains {100.0 * self.covered:.0f} % of the "
            f"{self.left_out} larger students; the median error is {self.error_points:.2f} points."
        )


def holdout_coverage(
    trials: pd.DataFrame,
    *,
    size: SizeName = "num_params",
    of: Subject = "typical",
    level: float = 0.9,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Holdout:
    """Return how well the law of the smaller three quarters of the students predicts the largest quarter.

    Students of the same size stay together, so fewer than a quarter may be held out. A student whose family has no
    fitted student is compared with the curve of all families.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        size: Column that is the size; see `fit_capacity_law`.
        of: Which students the law describes.
        level: Nominal coverage of the predictive interval, in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Number of resamples.

    Raises:
        ConfigError: An argument is invalid.
        LawError: There are too few smaller students for a law, or no student is larger.
    """
    students = law_students(trials, size=size)
    edge = float(students["size"].quantile(1.0 - LEFT_OUT, interpolation="lower")) if len(students) else np.nan
    larger = students[students["size"] > edge]
    known = trials[size].to_numpy(dtype=np.float64, na_value=np.nan)
    law = fit_capacity_law(trials[~(known > edge)], size=size, of=of, level=level, seed=seed, resamples=resamples)
    if larger.empty:
        raise LawError(
            f"no student is larger than {size_text(size, edge)}, so none can be held out; search a space of more sizes",
            code="analysis.nothing_held_out",
        )
    fitted = {*(curve.family for curve in law.curves), *(name for name, _ in law.left_out)}
    under, over, misses = [], [], []
    for family, own in larger.groupby("family"):
        gaps = own["gap_points"].to_numpy(dtype=np.float64)
        bands = law.predict(own["size"].to_numpy(dtype=np.float64), str(family) if family in fitted else None)
        under.append(gaps < bands.new_low)
        over.append(gaps > bands.new_high)
        misses.append(gaps - bands.mid)
    below, above, missed = np.concatenate(under), np.concatenate(over), np.concatenate(misses)
    return Holdout(
        size=size,
        level=level,
        fitted=law.together.students,
        left_out=len(larger),
        edge=edge,
        covered=float(1.0 - below.mean() - above.mean()),
        below=float(below.mean()),
        above=float(above.mean()),
        error_points=float(np.median(np.abs(missed))),
        bias_points=float(np.median(missed)),
    )
