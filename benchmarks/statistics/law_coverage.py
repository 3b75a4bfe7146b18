"""Measure the coverage of the capacity law's intervals, on simulated students with a known law and on real students.

Simulated students belong to two families with one exponent. The median of their noise is 0, so the law of the typical
student is known. Each repetition fits the law twice: to all students (judged at the sizes seen), and to the smaller
three quarters (judged at the sizes of the largest quarter). Real students come from the tables of
`benchmarks.search_quality`.

    python -m benchmarks.statistics.law_coverage [--repetitions 200]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, conditions, publish
from benchmarks.search_quality.curve_table import TABLES, CurveTable, ended, read_table
from nas_distill.analysis.law.api import fit_capacity_law
from nas_distill.analysis.law.holdout import LEFT_OUT, holdout_coverage
from nas_distill.analysis.law.model import CapacityLaw
from nas_distill.analysis.law.wording import Subject
from nas_distill.analysis.trials.study_reader import COLUMNS

Floats = NDArray[np.float64]
Noise = Callable[[Floats, np.random.Generator], Floats]

LEVEL, RESAMPLES, SEED = 0.9, 200, 0
REFERENCE, EXPONENT = 20_000.0, 0.5
FLOORS, RISES = np.array([1.0, -1.0]), np.array([6.0, 10.0])
COUNTS = (20, 60, 200)
TENTH = float(norm.ppf(0.1))
"""Quantile of standard Gaussian noise at which the best tenth begins."""


def gaussian(logs: Floats, generator: np.random.Generator) -> Floats:
    return generator.normal(0.0, 2.0, len(logs))


def heavy(logs: Floats, generator: np.random.Generator) -> Floats:
    return 1.6 * generator.standard_t(2, len(logs))


def uneven(logs: Floats, generator: np.random.Generator) -> Floats:
    return gaussian(logs, generator) * np.exp(-0.5 * logs)


def outliers(logs: Floats, generator: np.random.Generator) -> Floats:
    wild = generator.random(len(logs)) < 0.1
    # A tenth lies 20 points above, so the overall median is the quantile 0.5 / 0.9 of the rest.
    shift = 2.0 * float(norm.ppf(0.5 / 0.9))
    return np.where(wild, generator.normal(20.0, 4.0, len(logs)), gaussian(logs, generator)) - shift


def skewed(logs: Floats, generator: np.random.Generator) -> Floats:
    return 4.0 * (generator.exponential(1.0, len(logs)) - np.log(2.0)) * np.exp(-0.3 * logs)


NOISES: dict[str, Noise] = {
    "Gaussian": gaussian,
    "heavy tails (t, 2 degrees)": heavy,
    "larger for small students": uneven,
    "a tenth 20 points worse": outliers,
    "skewed, larger for small": skewed,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStudents:
    """Students with a known law.

    Attributes:
        trials: Table of trials.
        sizes: Number of parameters [N].
        families: Index of the family, 0 or 1 [N].
        law: True median gap in percentage points [N].
        gaps: Gap in percentage points [N].
    """

    trials: pd.DataFrame
    sizes: Floats
    families: NDArray[np.int64]
    law: Floats
    gaps: Floats


def simulate(count: int, noise: Noise, generator: np.random.Generator) -> SimulatedStudents:
    """Return simulated students with sizes over about two decades."""
    sizes = np.ceil(REFERENCE * np.exp(generator.normal(0.0, 1.2, count)))
    logs = np.log(sizes / REFERENCE)
    families = generator.permutation(np.arange(count) % 2)
    law = FLOORS[families] + RISES[families] * np.exp(-EXPONENT * logs)
    gaps = law + noise(logs, generator)
    rows = {
        "number": range(count),
        "status": "complete",
        "family": np.array(["a", "b"])[families],
        "num_params": sizes.astype(np.int64),
        "gap_points": gaps,
    }
    trials = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(dict(COLUMNS))
    return SimulatedStudents(trials=trials, sizes=sizes, families=families, law=law, gaps=gaps)


def covered(law: CapacityLaw, students: SimulatedStudents, kept: NDArray[np.bool_], shift: float) -> dict[str, float]:
    """Return the share of students whose true law is in the law's band, and whose gap is in the predictive band."""
    names = {curve.family for curve in law.curves}
    curve_in, gap_in = [], []
    for index, family in enumerate("ab"):
        own = kept & (students.families == index)
        if family not in names or not own.any():
            continue
        bands = law.predict(students.sizes[own], family)
        truth, gaps = students.law[own] + shift, students.gaps[own]
        curve_in.append((bands.low <= truth) & (truth <= bands.high))
        gap_in.append((bands.new_low <= gaps) & (gaps <= bands.new_high))
    if not curve_in:
        return {}
    return {"law": float(np.concatenate(curve_in).mean()), "new": float(np.concatenate(gap_in).mean())}


def repetition(count: int, noise: Noise, seed: Sequence[int], of: Subject) -> dict[str, float]:
    """Return the coverage within the sizes seen ("law", "new") and beyond them ("far_law", "far_new")."""
    generator = np.random.default_rng(seed)
    seen, fresh = simulate(count, noise, generator), simulate(240, noise, generator)
    shift = 2.0 * TENTH if of == "best" else 0.0
    law = fit_capacity_law(seen.trials, of=of, level=LEVEL, seed=SEED, resamples=RESAMPLES)
    within = (fresh.sizes >= seen.sizes.min()) & (fresh.sizes <= seen.sizes.max())
    near = covered(law, fresh, within, shift)
    edge = np.quantile(seen.sizes, 1.0 - LEFT_OUT)
    trials = seen.trials[seen.sizes <= edge]
    far_law = fit_capacity_law(trials, of=of, level=LEVEL, seed=SEED, resamples=RESAMPLES)
    far = covered(far_law, fresh, fresh.sizes > edge, shift)
    return {**near, **{f"far_{name}": value for name, value in far.items()}, "exponent": law.exponent}


def simulated_row(name: str, noise: Noise, count: int, repetitions: int, of: Subject = "typical") -> dict[str, Any]:
    """Return means over the repetitions, in percent."""
    started = time.process_time()
    index = list(NOISES).index(name)
    found = [repetition(count, noise, (SEED, index, count, number), of) for number in range(repetitions)]
    row: dict[str, Any] = {"noise": name, "of": of, "count": count}
    for key in ("law", "new", "far_law", "far_new"):
        values = np.array([one[key] for one in found if key in one])
        row[key], row[f"{key}_error"] = 100.0 * values.mean(), 164.5 * values.std(ddof=1) / np.sqrt(len(values))
    row["exponent"] = float(np.median([one["exponent"] for one in found]))
    row["seconds"] = (time.process_time() - started) / repetitions
    return row


def trials_of(table: CurveTable) -> pd.DataFrame:
    """Return the candidates of a table of learning curves as a table of trials."""
    rows = []
    for row in table.rows:
        if row.error or row.replicate:
            continue
        gap = float(row.curves["gap_points"][ended(row).kept - 1])
        rows.append(
            {
                "number": row.candidate,
                "status": "complete",
                "family": row.spec.family,
                "num_params": row.cost.num_params,
                "macs": row.cost.macs,
                "size_bytes": row.cost.size_bytes,
                "gap_points": gap,
                "top1": table.teacher.top1 - gap / 100.0,
                "recipe": row.recipe.canonical_json(),
                "losses": json.dumps(json.loads(row.recipe.canonical_json())["losses"]),
                "arguments": json.dumps(json.loads(row.spec.canonical_json())["arguments"]),
            }
        )
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def real_rows(name: str) -> list[dict[str, Any]]:
    """Return the coverage in the largest quarter of a real table's students, by size and subject."""
    trials = trials_of(read_table(TABLES / f"{name}.parquet"))
    rows = []
    for of in ("typical", "best"):
        for size in ("num_params", "macs", "size_bytes"):
            found = holdout_coverage(trials, size=size, of=of, level=LEVEL, seed=SEED)
            rows.append(
                {
                    "table": name, "of": of, "size": size, "fitted": found.fitted, "left_out": found.left_out,
                    "covered": 100.0 * found.covered, "below": 100.0 * found.below, "above": 100.0 * found.above,
                    "error": found.error_points if of == "typical" else None,
                    "bias": found.bias_points if of == "typical" else None,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    parser = benchmark_parser("statistics.law_coverage", __doc__)
    parser.add_argument(
        "--repetitions", type=int, default=200, help="repetitions per noise and number of students  [default: 200]"
    )
    arguments = parser.parse_args()
    repetitions = 3 if arguments.quick else arguments.repetitions
    simulated = [
        simulated_row(name, noise, count, repetitions)
        for name, noise in NOISES.items()
        for count in (COUNTS[:1] if arguments.quick else COUNTS)
    ]
    simulated += [
        simulated_row("Gaussian", gaussian, count, repetitions, "best") for count in COUNTS[1:] if not arguments.quick
    ]
    real = [row for name in ("digits-tiny", "cifar-resnet") for row in real_rows(name)]
    percent = "{:.1f}"
    columns = (
        Column("noise", "noise"),
        Column("of", "law of the"),
        Column("count", "students"),
        Column("law", "law, sizes seen, %", percent, "law_error"),
        Column("new", "new student, sizes seen, %", percent, "new_error"),
        Column("far_law", "law, largest quarter, %", percent, "far_law_error"),
        Column("far_new", "new student, largest quarter, %", percent, "far_new_error"),
        Column("exponent", "median exponent", "{:.2f}"),
        Column("seconds", "CPU s per repetition", "{:.2f}"),
    )
    on_tables = (
        Column("table", "table"),
        Column("of", "law of the"),
        Column("size", "size"),
        Column("fitted", "fitted"),
        Column("left_out", "left out"),
        Column("covered", "within, %", "{:.0f}"),
        Column("below", "below, %", "{:.0f}"),
        Column("above", "above, %", "{:.0f}"),
        Column("error", "median error, points", "{:.2f}"),
        Column("bias", "median gap - law, points", "{:+.2f}"),
    )
    nominal = f"{100 * LEVEL:g} % nominal"
    report = Report(
        name="statistics/law_coverage",
        tables=(
            Table(title=f"Simulated students with a known law (exponent {EXPONENT}), coverage, {nominal}",
                  columns=columns, rows=tuple(simulated)),
            Table(title=f"Real students, largest quarter left out, coverage of new students, {nominal}",
                  columns=on_tables, rows=tuple(real)),
        ),
        verdicts=verdicts(simulated, real),
        conditions=conditions(seed=SEED, threads=1, repetitions=repetitions, resamples=RESAMPLES),
    )  # fmt: skip
    publish(report, arguments)


def verdicts(simulated: Sequence[dict[str, Any]], real: Sequence[dict[str, Any]]) -> tuple[Verdict, ...]:
    """Return the lowest coverage of each kind; the target is the nominal coverage minus 5 points."""
    names = {
        "law": "law, sizes seen",
        "new": "new student, sizes seen",
        "far_law": "law, largest quarter",
        "far_new": "new student, largest quarter",
    }
    found = []
    for key, title in names.items():
        worst = min(simulated, key=lambda row: row[key])
        text = (
            f"{title}: lowest coverage {worst[key]:.1f} % ({worst['noise']}, {worst['of']}, {worst['count']} students)"
        )
        met = bool(worst[key] >= 100 * LEVEL - 5)
        found.append(Verdict(text=f"{text} (target: at least {100 * LEVEL - 5:g} %)", met=met))
    lowest = min(row["covered"] for row in real)
    return (*found, Verdict(text=f"real tables: at worst, the interval contains {lowest:.0f} % of the largest quarter"))


if __name__ == "__main__":
    main()
