"""Whether a capacity law holds where it was not fitted: the largest students are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas_distill.analysis.law.api import RESAMPLES, LawError, fit_capacity_law, law_students
from nas_distill.analysis.law.wording import SizeName, Subject, size_text

LEFT_OUT = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """What the law of the smaller students said of the larger ones.

    Attributes:
        size: Column that is the size.
        level: Nominal coverage.
        fitted: Students that the law was fitted to.
        left_out: Larger students.
        edge: Largest size that was fitted.
        covered: Share of those left out within the predictive interval, 0 to 1.
        below: Share below it.
        above: Share above it.
        error_points: Median of |gap - law|, percentage points.
        bias_points: Median of gap - law; positive when the larger students did worse than the law said.
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
        """The check, for a person."""
        return (
            f"Fitted to the {self.fitted} students of up to {size_text(self.size, self.edge)}, the law's "
            f"{100.0 * self.level:g} % interval for a new student held {100.0 * self.covered:.0f} % of the "
            f"{self.left_out} larger ones; median error {self.error_points:.2f} points."
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
    """Returns how the law of the smaller three quarters of the students does on the largest quarter.

    Students as large as the largest that is fitted are fitted too, so fewer than a quarter may be left out. A student
    whose family is not among the fitted ones is judged by the curve of all families.

    Args:
        trials: Table as `frame.load_frame` returns it.
        size: See `fit_capacity_law`, as the others.
        of: What the law describes.
        level: Of the predictive interval.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Raises:
        ConfigError: An argument breaks its rule.
        LawError: The smaller students allow no law, or no student is larger.
    """
    students = law_students(trials, size=size)
    edge = float(students["size"].quantile(1.0 - LEFT_OUT, interpolation="lower")) if len(students) else np.nan
    larger = students[students["size"] > edge]
    known = trials[size].to_numpy(dtype=np.float64, na_value=np.nan)
    law = fit_capacity_law(trials[~(known > edge)], size=size, of=of, level=level, seed=seed, resamples=resamples)
    if larger.empty:
        raise LawError(f"capacity law: no student is larger than {edge:g} ({size}), none can be left out")
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
