"""Shared parts of the benchmark programs: conditions, interleaved measurements, printed and stored tables.

A program builds a `Report`: tables with raw values, verdicts on its targets, and the conditions of the measurement.
`publish` prints it and writes JSON (raw values) and Markdown (as printed) to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as RichTable
from scipy import stats

from nas_distill.records import ExecutionSettings

RESULTS = Path(__file__).parents[1] / "results"
EXIT_NO_CUDA = 2
EXIT_MISSED = 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: Key of the value in the rows and in the JSON.
        title: Heading.
        spec: Format of a number. Text is printed unchanged, None as a dash.
        interval: Key of the half-width of the value's confidence interval, printed after the value if present.
    """

    key: str
    title: str
    spec: str = "{}"
    interval: str = ""

    def text(self, row: Mapping[str, Any]) -> str:
        """Return the cell of a row as printed."""
        value = row.get(self.key)
        if value is None:
            return "-"
        written = value if isinstance(value, str) else self.spec.format(value)
        half_width = row.get(self.interval)
        return written if half_width is None else f"{written} +- {self.spec.replace('+', '').format(half_width)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of raw values.

    Attributes:
        title: Heading: what was measured on what.
        columns: Columns from left to right; the first one is left-aligned.
        rows: Values of each row, by key of the column.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]

    def cells(self) -> list[list[str]]:
        """Return the rows as printed."""
        return [[column.text(row) for column in self.columns] for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A target and whether it was met; `met` is None for a finding without a target."""

    text: str
    met: bool | None = None

    def line(self) -> str:
        """Return the verdict as one line."""
        return self.text if self.met is None else f"{'met' if self.met else 'MISSED'}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Result of a benchmark program.

    Attributes:
        name: Name of the result files, relative to `results/`.
        tables: At least one table.
        verdicts: Verdicts on the targets.
        conditions: Hardware, threads, versions, commit and seed; see `conditions`.
    """

    name: str
    tables: tuple[Table, ...]
    verdicts: tuple[Verdict, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)


def conditions(*, seed: int | Sequence[int], threads: int, device: str = "cpu", **more: Any) -> dict[str, Any]:
    """Return the conditions of this run: everything needed to judge or repeat its numbers.

    Args:
        seed: Seed or seeds.
        threads: Torch threads per process.
        device: Device of the measurement, such as "cpu" or "cuda".
        more: Further conditions, such as the number of rounds.
    """
    hardware: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count()}
    if device != "cpu":
        hardware["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return {
        **hardware,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "seed": seed if isinstance(seed, int) else list(seed),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        **more,
    }


def publish(report: Report, arguments: argparse.Namespace) -> None:
    """Print a report and write it to `NAME.json` and `NAME.md`.

    Args:
        report: Report of the program.
        arguments: Command-line arguments `quick` and `out`, see `benchmark_parser`. A quick run prints no verdicts.
    """
    folder = _results_folder(arguments)
    console = Console(width=max(120, Console().width), highlight=False)
    for table in report.tables:
        console.print(_as_rich_table(table))
        console.print(_as_text(report.conditions), style="dim")
    if arguments.quick:
        console.print("Quick run: it shows that the program works; do not use its numbers.")
    for verdict in [] if arguments.quick else report.verdicts:
        console.print(verdict.line(), markup=False)
    if folder is not None:
        path = folder / report.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(_content(report), indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
        console.print(f"Written to {path}.json and .md")


def _content(report: Report) -> dict[str, Any]:
    return {
        "conditions": dict(report.conditions),
        "tables": [
            {
                "title": table.title,
                "columns": {column.key: column.title for column in table.columns},
                "rows": [dict(row) for row in table.rows],
            }
            for table in report.tables
        ],
        "verdicts": [{"text": verdict.text, "met": verdict.met} for verdict in report.verdicts],
    }


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = []
    for table in report.tables:
        parts.append(f"**{table.title}**\n")
        parts.append("| " + " | ".join(column.title for column in table.columns) + " |")
        parts.append("|" + "|".join("---" if index == 0 else "---:" for index in range(len(table.columns))) + "|")
        parts += ["| " + " | ".join(row) + " |" for row in table.cells()]
        parts.append("")
    parts.append(_wrapped(_as_text(report.conditions)) + "\n")
    parts += [_wrapped(f"- {verdict.line()}", indent="  ") for verdict in report.verdicts]
    return "\n".join(parts).rstrip() + "\n"


def _wrapped(text: str, *, indent: str = "") -> str:
    return textwrap.fill(text, 116, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def benchmark_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a benchmark, with `--quick` and `--out`.

    Args:
        module: Name of the module below `benchmarks`, such as "scale.kills".
        description: Docstring of the module.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="use small sizes to check that the program works; results are not written unless --out is given",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the results  [default: benchmarks/results; none with --quick]"
    )
    return parser


def describe(execution: ExecutionSettings) -> str:
    """Return precision, memory format and attention as text."""
    attention = ", plain attention" if execution.attention == "plain" else ""
    return f"{execution.precision}, {execution.memory_format}{attention}"


def _results_folder(arguments: argparse.Namespace) -> Path | None:
    """Return the folder for the results; None if they are not written."""
    if arguments.out is not None:
        return Path(arguments.out)
    return None if arguments.quick else RESULTS


def interleaved(
    contenders: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    warm_up: int = 1,
    repeats: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Run all contenders in turn, once per round, and return each contender's seconds, one value per round.

    Interleaving spreads temporary slowdowns of the machine over all contenders.

    Args:
        contenders: Functions that run once and return their seconds, by name.
        rounds: Number of measured rounds.
        warm_up: Number of rounds before them whose times are discarded.
        repeats: Number of runs per round, by name; the round's value is their median. Use it for contenders that run
            much shorter than the others.
    """
    times = repeats or {}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + rounds):
        this_round: dict[str, list[float]] = {name: [] for name in contenders}
        for lap in range(max(times.values(), default=1)):
            for name, contender in contenders.items():
                if lap < times.get(name, 1):
                    this_round[name].append(contender())
        if turn >= warm_up:
            for name, values in this_round.items():
                seconds[name].append(median(values))
    return seconds


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the mean and the half-width of its Student's t confidence interval; infinite for a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.inf
    quantile = float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


def processor() -> str:
    """Return the name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Return the commit of the working tree, with the suffix "-dirty" if it has uncommitted changes."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
    except OSError:
        return "unknown"
    return run.stdout.strip() or "unknown"


def _as_rich_table(table: Table) -> RichTable:
    drawn = RichTable(title=table.title)
    for index, column in enumerate(table.columns):
        drawn.add_column(column.title, justify="right" if index else "left")
    for row in table.cells():
        drawn.add_row(*row)
    return drawn


def _as_text(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
