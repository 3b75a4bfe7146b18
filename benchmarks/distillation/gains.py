"""Results of `benchmarks.distillation`: paired gains, tables and verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.program import Column, Table, Verdict, commit, mean_interval
from benchmarks.common.tasks import Outcome, Result
from benchmarks.distillation.contenders import Contender
from nas_distill.losses.registry import NONE

TARGETS = ("kd", "dkd", "dist")
"""Losses that must gain at the smallest student."""

MEASURES: dict[str, Callable[[Result], float | None]] = {
    "top1_percent": lambda result: 100 * result.top1,
    "gap_points": lambda result: result.gap_points,
    "agreement_percent": lambda result: 100 * result.agreement,
    "divergence_nats": lambda result: result.divergence_nats,
    "nll_nats": lambda result: result.nll_nats,
    "ece": lambda result: result.ece,
    "uncalibrated_nll_nats": lambda result: result.uncalibrated_nll_nats,
    "uncalibrated_ece": lambda result: result.uncalibrated_ece,
    "seconds": lambda result: result.seconds,
}


def _interval(key: str) -> str:
    return f"{key}_interval"


def _measured(key: str, title: str, spec: str) -> Column:
    return Column(key, title, spec, _interval(key))


COLUMNS = (
    Column("name", "loss"),
    _measured("top1_percent", "top-1, %", "{:.2f}"),
    _measured("gain_points", "gain over none, paired", "{:+.2f}"),
    _measured("nll_nats", "NLL", "{:.3f}"),
    _measured("nll_change", "NLL minus none's, paired", "{:+.3f}"),
    _measured("ece", "ECE", "{:.3f}"),
    _measured("uncalibrated_ece", "ECE before calibration", "{:.3f}"),
    _measured("gap_points", "gap, points", "{:.2f}"),
    _measured("agreement_percent", "agreement, %", "{:.1f}"),
    _measured("divergence_nats", "divergence, nats", "{:.3f}"),
    _measured("seconds", "seconds", "{:.0f}"),
    Column("failed", "failed"),
)
RECIPE_COLUMNS = (
    Column("name", "loss"),
    Column("outputs", "teacher outputs"),
    Column("settings", "settings"),
)
FAILURE_COLUMNS = (
    Column("name", "loss"),
    Column("student", "student"),
    Column("seeds", "seeds"),
    Column("error", "error"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Results of one contender with one student.

    Attributes:
        student: Name of the student.
        contender: The contender.
        outcomes: Outcomes of the contender, by seed.
        control: Outcomes of `none`, by seed.
    """

    student: str
    contender: Contender
    outcomes: Mapping[int, Outcome[Result]]
    control: Mapping[int, Outcome[Result]]

    @property
    def name(self) -> str:
        """Name of the contender."""
        return self.contender.name

    @property
    def failed(self) -> dict[int, str]:
        """Errors of failed trainings, by seed."""
        return {seed: outcome.error for seed, outcome in sorted(self.outcomes.items()) if outcome.error}

    @property
    def results(self) -> dict[int, Result]:
        """Results of successful trainings, by seed."""
        return _results(self.outcomes)

    @property
    def num_params(self) -> int | None:
        """Number of parameters of the trained network; None if all trainings failed."""
        return next((result.num_params for result in self.results.values()), None)

    @property
    def is_larger(self) -> bool:
        """Whether the network differs in size from that of `none`, because it contains parts of the teacher."""
        own = {result.num_params for result in _results(self.control).values()}
        return self.num_params is not None and bool(own) and self.num_params not in own

    @property
    def points(self) -> tuple[float, float] | None:
        """Mean paired gain in top-1 over `none` and half-width of its interval, in percentage points.

        None without a pair of results.
        """
        return self._paired("top1_percent")

    def _paired(self, key: str) -> tuple[float, float] | None:
        """Return the mean difference of a measure from `none` and half-width of its interval; None without a pair."""
        mine, others, measure = self.results, _results(self.control), MEASURES[key]
        values = [(measure(mine[seed]), measure(others[seed])) for seed in mine if seed in others]
        pairs = [own - other for own, other in values if own is not None and other is not None]
        return mean_interval(pairs) if pairs and self.name != NONE else None

    @property
    def helps(self) -> bool:
        """Whether the gain is positive beyond its interval."""
        return self.points is not None and self.points[0] > self.points[1]

    @property
    def hurts(self) -> bool:
        """Whether the gain is negative beyond its interval."""
        return self.points is not None and self.points[0] < -self.points[1]

    def row(self) -> dict[str, Any]:
        """Return the row of the table."""
        results = self.results
        values = {
            key: [value for result in results.values() if (value := measure(result)) is not None]
            for key, measure in MEASURES.items()
        }
        row: dict[str, Any] = {"name": self.name, "settings": self.contender.settings, "student": self.student}
        for key, found in values.items():
            row |= _with_interval(key, mean_interval(found) if found else None)
        row |= _with_interval("gain_points", self.points)
        row |= _with_interval("nll_change", self._paired("nll_nats"))
        row["failed"] = f"{len(self.failed)} of {len(self.outcomes)}" if self.failed else None
        row["seeds"] = list(results)
        row["num_params"] = self.num_params
        row["released_by_seed"] = [list(result.released) for result in results.values()]
        row["by_seed"] = values
        row["commits"] = sorted({outcome.commit for outcome in self.outcomes.values()})
        return row

    def summary(self) -> str:
        """Return name and gain as text."""
        assert self.points is not None
        mean, half = self.points
        return f"{self.name} ({mean:+.2f}{f' +- {half:.2f}' if math.isfinite(half) else ''})"


def gain_table(title: str, gains: Sequence[Gain]) -> Table:
    """Return the table of one student: `none`, then the others in descending order of gain, then those without one."""
    ranked = sorted(gains, key=lambda gain: (gain.name != NONE, -(gain.points or (-math.inf, 0.0))[0]))
    return Table(title=title, columns=COLUMNS, rows=tuple(gain.row() for gain in ranked))


def recipe_table(contenders: Sequence[Contender]) -> Table:
    """Return the recipes behind the names."""
    rows = [{"name": c.name, "outputs": c.outputs, "settings": c.settings} for c in contenders]
    return Table(title="Settings", columns=RECIPE_COLUMNS, rows=tuple(rows))


def failure_table(gains: Sequence[Gain]) -> Table | None:
    """Return the table of failed trainings; None if there are none."""
    rows = [
        {"name": gain.name, "student": gain.student, "seeds": ", ".join(seeds), "error": reason}
        for gain in gains
        for reason in dict.fromkeys(gain.failed.values())
        for seeds in ([str(seed) for seed, found in gain.failed.items() if found == reason],)
    ]
    return Table(title="Failed trainings", columns=FAILURE_COLUMNS, rows=tuple(rows)) if rows else None


def verdicts(gains: Sequence[Gain], *, smallest: str) -> tuple[Verdict, ...]:
    """Return verdicts on the targets at the smallest student, and the losses that help or hurt at each student."""
    found = [_judged(gain) for gain in gains if gain.student == smallest and gain.name in TARGETS]
    for student in dict.fromkeys(gain.student for gain in gains):
        found += _statements(student, [gain for gain in gains if gain.student == student and gain.name != NONE])
    others = {outcome.commit for gain in gains for outcome in gain.outcomes.values()} - {commit()}
    if others:
        found.append(Verdict(text=f"some trainings are from earlier runs, of commit {', '.join(sorted(others))}"))
    return tuple(found)


def _judged(gain: Gain) -> Verdict:
    if gain.points is None:
        return Verdict(text=f"{gain.student}: {gain.name} could not be compared with none", met=False)
    return Verdict(text=f"{gain.student}: {gain.summary()} gains over none beyond its paired interval", met=gain.helps)


def _statements(student: str, gains: Sequence[Gain]) -> list[Verdict]:
    ranked = sorted((gain for gain in gains if gain.points is not None), key=lambda gain: -(gain.points or (0.0,))[0])
    groups = {
        "gain beyond the interval": [gain.summary() for gain in ranked if gain.helps],
        "no significant difference from none": [g.summary() for g in ranked if not g.helps and not g.hurts],
        "loss beyond the interval": [gain.summary() for gain in ranked if gain.hurts],
        "not comparable": [gain.name for gain in gains if gain.points is None],
        "network differs from that of none": [f"{g.name} ({g.num_params:,} parameters)" for g in gains if g.is_larger],
    }
    return [Verdict(text=f"{student}, {group}: {', '.join(names)}") for group, names in groups.items() if names]


def _with_interval(key: str, found: tuple[float, float] | None) -> dict[str, float | None]:
    if found is None:
        return {key: None, _interval(key): None}
    mean, half = found
    return {key: mean, _interval(key): half if math.isfinite(half) else None}


def _results(outcomes: Mapping[int, Outcome[Result]]) -> dict[int, Result]:
    return {seed: outcome.result for seed, outcome in sorted(outcomes.items()) if outcome.result is not None}
