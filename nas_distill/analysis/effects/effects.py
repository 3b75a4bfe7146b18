"""Measure which parameters of architecture and recipe are associated with the capacity gap at equal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.effects.by_size import MIN_TO_DISTINGUISH
from nas_distill.analysis.effects.importance import Errors, coded, out_of_fold_errors, rise_of_error
from nas_distill.analysis.effects.parameters import parameter_table
from nas_distill.analysis.effects.value_scores import ValueScore, value_scores
from nas_distill.analysis.formatting import signed
from nas_distill.analysis.stats import percentile_interval
from nas_distill.errors import ConfigError
from nas_distill.records import TrialStatus

Floats = NDArray[np.float64]
EffectStanding = Literal["distinguishable from chance", "not distinguishable from chance"]

MIN_STUDENTS = 30
"""Fewest students for effects to be measured."""

MAX_STUDENTS = 1000
"""Maximum number of students. From a larger run, a random sample of this size is used."""

CORRELATED = 0.7
"""Absolute rank correlation from which two parameters are reported as sharing their importance."""

REPETITIONS = 3
_RESAMPLES = 1000
_MAX_SENTENCES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The effect of one parameter.

    Attributes:
        name: Name of the parameter; see `parameters.parameter_table`.
        students: Number of students that it applies to.
        importance_points: Rise of the RMSE of predicted gaps when its values are shuffled, percentage points.
        low: Lower end of the 95 % interval of the importance.
        high: Upper end of that interval.
        standing: "distinguishable from chance" if the interval lies above 0 and above those of all controls.
        values: Scores of its values, smallest median first; empty unless it is distinguishable from chance.
        shares_with: Strongly correlated parameters. Any of them may be the one that matters.
    """

    name: str
    students: int
    importance_points: float
    low: float
    high: float
    standing: EffectStanding
    values: tuple[ValueScore, ...]
    shares_with: tuple[str, ...]

    @property
    def distinguishable(self) -> bool:
        """Whether the importance is distinguishable from chance."""
        return self.standing == "distinguishable from chance"

    @property
    def contrast(self) -> tuple[ValueScore, ValueScore] | None:
        """The values with the smallest and the largest median, if their intervals do not overlap."""
        if len(self.values) < 2:
            return None
        best, worst = self.values[0], self.values[-1]
        return (best, worst) if best.interval[1] < worst.interval[0] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The effects of all parameters among fully trained students.

    Attributes:
        students: Number of students used.
        of: Number of fully trained students.
        rows: Effects, most important first; empty if none could be measured.
        control_points: Upper end of the highest control's interval, percentage points.
        size_r2: Share of the gap's variance that size alone predicts out of fold; at most 0 if it predicts nothing.
        r2: Share of the remaining variance that the parameters predict out of fold.
        r2_interval: 95 % interval of `r2`.
        reason: Why no effects could be measured; empty if they were.
    """

    students: int
    of: int
    rows: tuple[Effect, ...] = ()
    control_points: float = 0.0
    size_r2: float = 0.0
    r2: float = 0.0
    r2_interval: tuple[float, float] = (0.0, 0.0)
    reason: str = ""

    @property
    def predicts(self) -> bool:
        """Whether the parameters predict part of the gap that size does not."""
        return not self.reason and self.r2_interval[0] > 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result in sentences. They describe association and never claim a cause."""
        if self.reason:
            return (f"No effects of parameters could be measured: {self.reason}.",)
        low, high = (f"{bound:.2f}" for bound in self.r2_interval)
        used = f"{self.students} fully trained students"
        if self.students < self.of:
            used = f"{self.students} of {self.of} fully trained students, drawn at random"
        size = f"Among {used}, size predicts {_share(self.size_r2)} of the variance of the gap out of fold."
        if not self.predicts:
            return (
                (
                    f"{size} The parameters predict nothing more that is distinguishable from chance (R² "
                    f"{self.r2:.2f}, 95 % interval {low} to {high}), so no parameter's effect can be shown."
                ),
            )
        first = (
            f"{size} The parameters predict {_share(self.r2)} of the remaining variance (95 % interval of R² {low} to "
            f"{high})."
        )
        shown = [row for row in self.rows if row.distinguishable]
        if not shown:
            return (first, "No single parameter is distinguishable from chance.")
        rest = len(self.rows) - len(shown)
        last = (f"{rest} other parameters are not distinguishable from chance.",) if rest else ()
        return (first, *(_sentence(row) for row in shown[:_MAX_SENTENCES]), *last)


def parameter_effects(trials: pd.DataFrame, *, seed: int = 0, repetitions: int = REPETITIONS) -> Effects:
    """Return the importance of each parameter for the gap at equal size.

    Only fully trained students that the teacher taught are used. A fit of the gap on size, and a forest that predicts
    the rest from the parameters, are judged on students that they were not fitted to; see
    `importance.out_of_fold_errors`. The intervals are a bootstrap of those errors over students. They do not include
    that other students would have led to other forests.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        seed: Seed of folds, forests, shuffles and bootstrap.
        repetitions: Repetitions of the cross-validation, at least 1.

    Raises:
        ConfigError: `repetitions` is below 1.
    """
    if repetitions < 1:
        raise ConfigError(f"{repetitions} must be at least 1", code="analysis.count_too_small", field="repetitions")
    full = trials[(trials["status"] == TrialStatus.COMPLETE) & trials["assistant"].isna()]
    full = full[full["gap_points"].notna() & (full["num_params"].fillna(0) > 0)].sort_values("number")
    total = len(full)
    if total < MIN_STUDENTS:
        reason = f"the run has {total} fully trained students, and {MIN_STUDENTS} are needed"
        return Effects(students=total, of=total, reason=reason)
    generator = np.random.default_rng(seed)
    if total > MAX_STUDENTS:
        full = full.iloc[np.sort(generator.choice(total, MAX_STUDENTS, replace=False))]
    table = parameter_table(full)
    gaps = full["gap_points"].to_numpy(dtype=np.float64)
    if table.empty or np.ptp(gaps) == 0.0:
        reason = "all students have the same gap" if len(table.columns) else "all students have the same parameters"
        return Effects(students=len(full), of=total, reason=reason)
    values = coded(table)
    logs = np.log(full["num_params"].to_numpy(dtype=np.float64))
    errors = out_of_fold_errors(logs, gaps, values, repetitions=repetitions, seed=seed)
    return _effects(table, values, errors, generator, total)


def _effects(
    table: pd.DataFrame, values: Floats, errors: Errors, generator: np.random.Generator, total: int
) -> Effects:
    count = len(table)
    weights = generator.multinomial(count, np.full(count, 1.0 / count), size=_RESAMPLES) / count
    even = np.full((1, count), 1.0 / count)
    points = rise_of_error(errors.shuffled, errors.by_forest, even)[0]
    lows, highs = percentile_interval(rise_of_error(errors.shuffled, errors.by_forest, weights))
    _, controls = percentile_interval(rise_of_error(errors.controls, errors.by_forest, weights))
    r2_low, r2_high = percentile_interval(1.0 - (weights @ errors.by_forest) / (weights @ errors.by_size))
    threshold = max(0.0, float(controls.max()))
    related = _related(values)
    rows = []
    for index in np.argsort(-points, kind="stable").tolist():
        shown = r2_low > 0.0 and lows[index] > threshold
        rows.append(
            Effect(
                name=str(table.columns[index]),
                students=int(table.iloc[:, index].notna().sum()),
                importance_points=float(points[index]),
                low=float(lows[index]),
                high=float(highs[index]),
                standing="distinguishable from chance" if shown else "not distinguishable from chance",
                values=value_scores(table.iloc[:, index], errors.residuals, generator) if shown else (),
                shares_with=tuple(str(table.columns[other]) for other in np.flatnonzero(related[index]).tolist()),
            )
        )
    return Effects(
        students=count,
        of=total,
        rows=tuple(rows),
        control_points=threshold,
        size_r2=float(1.0 - errors.by_size.mean() / errors.without_size.mean()),
        r2=float(1.0 - errors.by_forest.mean() / errors.by_size.mean()),
        r2_interval=(float(r2_low), float(r2_high)),
    )


def _related(values: Floats) -> NDArray[np.bool_]:
    """Mark pairs of parameters [P, P] that are strongly rank-correlated over the students that both apply to."""
    frame = pd.DataFrame(values)
    found = frame.corr(method="spearman", min_periods=MIN_TO_DISTINGUISH).abs().to_numpy()
    return np.asarray((found >= CORRELATED) & ~np.eye(len(found), dtype=np.bool_))


def _share(r2: float) -> str:
    return f"{100.0 * r2:.0f} %" if r2 > 0.0 else "nothing"


def _sentence(row: Effect) -> str:
    text = (
        f"{row.name} is associated with the gap at equal size: shuffling its values raises the RMSE of the predicted "
        f"gap by {row.importance_points:.2f} points (95 % interval {signed(row.low)} to {signed(row.high)}; "
        f"{row.students} students)."
    )
    if row.contrast is not None:
        best, worst = row.contrast
        text += (
            f" Relative to the mean gap at their size, students with {best.value} had a median gap of "
            f"{signed(best.median_points)} points, and those with {worst.value} {signed(worst.median_points)}."
        )
    if row.shares_with:
        text += f" It is correlated with {', '.join(row.shares_with[:3])}, so any of them may be the one that matters."
    return text
