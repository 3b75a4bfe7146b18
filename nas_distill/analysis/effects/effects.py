"""Which parameters of architecture and recipe went with the capacity gap at equal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.effects.by_size import LEAST_TO_TELL_APART
from nas_distill.analysis.effects.importance import Errors, coded, out_of_fold_errors, rise_of_error
from nas_distill.analysis.effects.parameters import parameter_table
from nas_distill.analysis.effects.value_scores import ValueScore, value_scores
from nas_distill.analysis.formatting import signed
from nas_distill.errors import ConfigError
from nas_distill.records import TrialStatus

Floats = NDArray[np.float64]
EffectStanding = Literal["told apart from chance", "not told apart from chance"]

LEAST_STUDENTS = 30
"""Of which effects are looked for."""

MOST_STUDENTS = 1000
"""Of more, that many are drawn."""

CONFIDENCE = 0.95
CORRELATED = 0.7
"""Rank correlation, in absolute value, from which two parameters share what they are worth."""

REPETITIONS = 3
_RESAMPLES = 1000
_MOST_TOLD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One parameter.

    Attributes:
        name: As `parameters.parameter_table` calls it.
        students: It applies to.
        importance_points: Rise of the RMSE of predicted gaps when its values are shuffled, percentage points.
        low: Lower end of the 95 % interval.
        high: Upper end.
        standing: Whether the interval lies above 0 and above those of all shuffled controls.
        values: Smallest median first; only of parameters that are told apart from chance.
        shares_with: Parameters that are strongly correlated with it, and share its importance.
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
    def told_apart(self) -> bool:
        """Whether more than chance is seen."""
        return self.standing == "told apart from chance"

    @property
    def contrast(self) -> tuple[ValueScore, ValueScore] | None:
        """The values with the smallest and the largest median, if their intervals do not overlap."""
        if len(self.values) < 2:
            return None
        best, worst = self.values[0], self.values[-1]
        return (best, worst) if best.interval[1] < worst.interval[0] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What went with the gap among fully trained students.

    Attributes:
        students: Looked at.
        of: Fully trained students in all.
        rows: Most important first; empty where there is no telling.
        control_points: Upper end of the highest control's interval, percentage points.
        size_r2: Share of the gap's variance that size alone predicts out of fold; below 0 when it predicts nothing.
        r2: Share of what size leaves that the parameters predict out of fold.
        r2_interval: Of that, 95 %.
        reason: Why there are no rows; empty when there are.
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
        """Whether the parameters predict anything that size does not."""
        return not self.reason and self.r2_interval[0] > 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """What there is to say, for people; what went with what, never why."""
        if self.reason:
            return (f"No effects of parameters can be looked for: {self.reason}.",)
        low, high = (f"{bound:.2f}" for bound in self.r2_interval)
        scope = f"{self.students} fully trained students" if self.students == self.of else (
            f"{self.students} of {self.of} fully trained students, drawn at random"
        )  # fmt: skip
        first = (
            f"Among {scope}, size predicts {_share(self.size_r2)} of the variance of the gap out of fold; of the rest"
        )
        if not self.predicts:
            nothing = (
                f"{first} the parameters predict nothing that can be told from chance (R² {self.r2:.2f}, "
                f"95 % interval {low} to {high}): no parameter's effect can be seen."
            )
            return (nothing,)
        told = [row for row in self.rows if row.told_apart]
        start = f"{first} the parameters predict {_share(self.r2)} (95 % interval of R² {low} to {high})."
        if not told:
            return (start, "No single parameter is told apart from chance.")
        rest = len(self.rows) - len(told)
        last = f"{rest} other parameters are not told apart from chance." if rest else ""
        return (start, *(_sentence(row) for row in told[:_MOST_TOLD]), *([last] if last else []))


def parameter_effects(trials: pd.DataFrame, *, seed: int = 0, repetitions: int = REPETITIONS) -> Effects:
    """Returns the importance of each parameter for the gap at equal size.

    Only fully trained students that the teacher taught count. The gap's fit on size, and the forest that predicts what
    is left by the parameters, are judged on students that they were not fitted to; see `importance.out_of_fold_errors`.
    Intervals are a bootstrap over students of their mean errors; that other students would have led to other forests is
    not in them.

    Args:
        trials: Table as `frame.load_frame` returns it.
        seed: Of folds, forests, shuffles and bootstrap.
        repetitions: Of the cross-validation, at least 1.

    Raises:
        ConfigError: `repetitions` is below 1.
    """
    if repetitions < 1:
        raise ConfigError(f"repetitions: {repetitions} must be at least 1")
    full = trials[(trials["status"] == TrialStatus.COMPLETE) & trials["assistant"].isna()]
    full = full[full["gap_points"].notna() & (full["num_params"].fillna(0) > 0)].sort_values("number")
    total = len(full)
    if total < LEAST_STUDENTS:
        reason = f"{total} fully trained students, {LEAST_STUDENTS} are needed"
        return Effects(students=total, of=total, reason=reason)
    generator = np.random.default_rng(seed)
    if total > MOST_STUDENTS:
        full = full.iloc[np.sort(generator.choice(total, MOST_STUDENTS, replace=False))]
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
    tails = [0.5 - CONFIDENCE / 2.0, 0.5 + CONFIDENCE / 2.0]
    points = rise_of_error(errors.shuffled, errors.by_forest, even)[0]
    lows, highs = np.quantile(rise_of_error(errors.shuffled, errors.by_forest, weights), tails, axis=0)
    controls = np.quantile(rise_of_error(errors.controls, errors.by_forest, weights), tails[1], axis=0)
    r2 = np.quantile(1.0 - (weights @ errors.by_forest) / (weights @ errors.by_size), tails)
    least = max(0.0, float(controls.max()))
    related = _related(values)
    rows = []
    for place in np.argsort(-points, kind="stable").tolist():
        told = r2[0] > 0.0 and lows[place] > least
        rows.append(
            Effect(
                name=str(table.columns[place]),
                students=int(table.iloc[:, place].notna().sum()),
                importance_points=float(points[place]),
                low=float(lows[place]),
                high=float(highs[place]),
                standing="told apart from chance" if told else "not told apart from chance",
                values=value_scores(table.iloc[:, place], errors.residuals, generator) if told else (),
                shares_with=tuple(str(table.columns[other]) for other in np.flatnonzero(related[place]).tolist()),
            )
        )
    return Effects(
        students=count,
        of=total,
        rows=tuple(rows),
        control_points=least,
        size_r2=float(1.0 - errors.by_size.mean() / errors.without_size.mean()),
        r2=float(1.0 - errors.by_forest.mean() / errors.by_size.mean()),
        r2_interval=(float(r2[0]), float(r2[1])),
    )


def _related(values: Floats) -> NDArray[np.bool_]:
    """Marks pairs of parameters [P, P] that are strongly rank-correlated over the students that both apply to."""
    frame = pd.DataFrame(values)
    found = frame.corr(method="spearman", min_periods=LEAST_TO_TELL_APART).abs().to_numpy()
    return np.asarray((found >= CORRELATED) & ~np.eye(len(found), dtype=np.bool_))


def _share(r2: float) -> str:
    return f"{100.0 * r2:.0f} %" if r2 > 0.0 else "nothing"


def _sentence(row: Effect) -> str:
    text = (
        f"{row.name} went with the gap at equal size: shuffling it makes predictions "
        f"{row.importance_points:.2f} points worse (RMSE, 95 % interval {signed(row.low)} to {signed(row.high)}; "
        f"{row.students} students)."
    )
    if row.contrast is not None:
        best, worst = row.contrast
        text += (
            f" Students with {best.value} had a median of {signed(best.median_points)} points against the mean "
            f"gap at their size, those with {worst.value} {signed(worst.median_points)}."
        )
    if row.shares_with:
        text += f" It goes along with {', '.join(row.shares_with[:3])}: they share what is seen here."
    return text
