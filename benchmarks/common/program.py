"""What all benchmark programs share: conditions of a run, interleaved rounds, tables on the screen and on disk.

A program makes `Report`: tables with raw values, verdicts on its targets, and the conditions under which they were
measured. It is printed, and kept as JSON (raw values) and Markdown (as printed) under `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
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
    """A column: key of the raw value in a row, heading, and how the value is written.

    Attributes:
        key: In the rows and in the JSON.
        title: Heading.
        spec: Format of a number; text is written as it is, None as a dash.
        interval: Key of the half-width of the value's interval, which is written after it where there is one.
    """

    key: str
    title: str
    spec: str = "{}"
    interval: str = ""

    def text(self, row: Mapping[str, Any]) -> str:
        """Returns the cell as it is printed."""
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
        title: What is measured, on what.
        columns: In order; the first is aligned to the left.
        rows: Key -> value.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]

    def cells(self) -> list[list[str]]:
        """Returns the rows as printed."""
        return [[column.text(row) for column in self.columns] for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A target and whether it was met; `met` is None for a statement without a target."""

    text: str
    met: bool | None = None

    def line(self) -> str:
        """Returns the verdict as one line."""
        return self.text if self.met is None else f"{'met' if self.met else 'MISSED'}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a program found.

    Attributes:
        name: Of its files under `results/`.
        tables: At least one.
        verdicts: On the targets.
        conditions: Hardware, threads, versions, commit and seed; see `conditions`.
    """

    name: str
    tables: tuple[Table, ...]
    verdicts: tuple[Verdict, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)


def conditions(*, seed: int | Sequence[int], threads: int, device: str = "cpu", **more: Any) -> dict[str, Any]:
    """Returns the conditions of this run: what a reader needs to judge or repeat its numbers.

    Args:
        seed: Or seeds.
        threads: Threads of torch, per process.
        device: Such as "cpu" or "cuda".
        more: Anything else, in words: number of rounds, workers, images.
    """
    place: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count()}
    if device != "cpu":
        place["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return {
        **place,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "seed": seed if isinstance(seed, int) else list(seed),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        **more,
    }


def publish(report: Report, arguments: argparse.Namespace) -> None:
    """Prints the report and keeps it as `NAME.json` and `NAME.md`.

    Args:
        report: What was found.
        arguments: With `quick` and `out`, see `add_common_arguments`; a quick run's verdicts are not given.
    """
    folder = _results_folder(arguments)
    console = Console(width=max(120, Console().width), highlight=False)
    for table in report.tables:
        console.print(_drawn(table))
    console.print(_sentence(report.conditions), style="dim")
    if arguments.quick:
        console.print("a quick run shows that the program works; its numbers mean nothing")
    for verdict in [] if arguments.quick else report.verdicts:
        console.print(verdict.line(), markup=False)
    if folder is not None:
        path = folder / report.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(_content(report), indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
        console.print(f"kept in {path}.json and .md")


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
    """Returns the report as Markdown."""
    parts = []
    for table in report.tables:
        parts.append(f"**{table.title}**\n")
        parts.append("| " + " | ".join(column.title for column in table.columns) + " |")
        parts.append("|" + "|".join("---" if place == 0 else "---:" for place in range(len(table.columns))) + "|")
        parts += ["| " + " | ".join(row) + " |" for row in table.cells()]
        parts.append("")
    parts.append(_sentence(report.conditions) + "\n")
    parts += [f"- {verdict.line()}" for verdict in report.verdicts]
    return "\n".join(parts).rstrip() + "\n"


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--quick` and `--out`."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, to see that the program works; its numbers mean nothing and are not kept",
    )
    parser.add_argument("--out", type=Path, help=f"folder for the results  [default: {RESULTS.name}/, quick: none]")


def describe(execution: ExecutionSettings) -> str:
    """Returns how a network was run, in words."""
    attention = ", plain attention" if execution.attention == "plain" else ""
    return f"{execution.precision}, {execution.memory_format}{attention}"


def _results_folder(arguments: argparse.Namespace) -> Path | None:
    """Returns where `publish` keeps the report."""
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
    """Returns each contender's measurements, one per round; in every round each contender runs once, in turns.

    Whatever slows the machine for a while then slows them all.

    Args:
        contenders: Name -> function that runs once and returns its seconds.
        rounds: That count.
        warm_up: Rounds before those, thrown away.
        repeats: How often a contender runs per round, in turns with the others that do; the round's value is their
            median. For short ones, beside long ones.
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
    """Returns the median."""
    return float(statistics.median(values))


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Returns the mean and the half-width of Student's interval around it; infinite for a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.inf
    quantile = float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


def processor() -> str:
    """Returns the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Returns the commit of this working tree, marked when there are changes on top of it."""
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


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(title=table.title)
    for place, column in enumerate(table.columns):
        drawn.add_column(column.title, justify="right" if place else "left")
    for row in table.cells():
        drawn.add_row(*row)
    return drawn


def _sentence(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
