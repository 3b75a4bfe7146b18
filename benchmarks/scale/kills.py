"""Measure what a search loses when its driver is killed: kill -9 at random moments, resume, compare with a control.

Trials sleep; proposer, study, driver, run directory and Ray Tune are the real ones, and the driver is a process of its
own. What a sampler proposes depends on the order of the results, and so on the kills. Therefore all candidates are
initial points: both searches then have the same work, and everything except times must be equal. A second pair of
searches uses early stopping. The trials that it stops depend on the order of the results, so only properties that hold
for any order are checked there.

    python -m benchmarks.scale.kills [--kills 10] [--trials 24]

The exit status is 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.process import command_of, marked_environment, marked_processes
from benchmarks.common.program import (
    EXIT_MISSED,
    Column,
    Report,
    Table,
    Verdict,
    benchmark_parser,
    conditions,
    publish,
)
from benchmarks.scale.comparing import (
    differences,
    front_of,
    inconsistent_rows,
    records_of,
    retrained_epochs,
    running_trials,
    wrongly_ended,
)
from benchmarks.scale.sleeping import read_log
from nas_distill.config import AshaConfig
from nas_distill.records import TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.early_stopping.asha import rung_epochs

_REDUCTION_FACTOR = 3.0
_SESSION_LIMIT_S = 300.0
_LINGER_LIMIT_S = 4.0
_START_S = 8.0
"""Upper bound of the random delay of a kill during the start of a session."""

COLUMNS = (
    Column("rule", "early stopping"),
    Column("kills", "kills", "{}"),
    Column("running_trials", "running trials at a kill, mean", "{:.1f}"),
    Column("finished", "finished trials", "{}"),
    Column("stopped", "stopped trials", "{}"),
    Column("lost", "lost or different", "{}"),
    Column("inconsistent", "inconsistent rows of the study", "{}"),
    Column("retrained", "retrained epochs, most per trial and kill", "{}"),
    Column("workers_s", "workers lived on, most s", "{:.1f}"),
    Column("ended", "processes left over", "{}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill and its consequences.

    Attributes:
        running_trials: Number of running trials.
        workers_s: Seconds until the last worker had exited.
        ended: Number of the session's processes that did not exit by themselves and were killed.
    """

    running_trials: int
    workers_s: float
    ended: int


def main() -> None:
    arguments = parse()
    rows, verdicts = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for rule in arguments.rules:
            row = measure(Path(scratch) / rule, rule, arguments)
            rows.append(row)
            verdicts += judge(row, arguments)
    report = Report(
        name="scale/kills",
        tables=(
            Table(
                title=f"Searches of {arguments.trials} sleeping trials of {arguments.epochs} epochs with a killed "
                f"driver; {arguments.workers} in parallel, a checkpoint every {arguments.checkpoint_every} epochs",
                columns=COLUMNS,
                rows=tuple(rows),
            ),
        ),
        verdicts=tuple(verdicts),
        conditions=conditions(seed=arguments.seed, threads=1),
    )
    publish(report, arguments)
    if not all(verdict.met for verdict in verdicts):
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("scale.kills", __doc__)
    parser.add_argument(
        "--rules", nargs="+", default=["none", AshaConfig().rule], help="early-stopping rules  [default: none, default]"
    )
    parser.add_argument("--kills", type=int, default=10, help="kills per search  [default: 10]")
    parser.add_argument("--trials", type=int, default=24, help="trials per search  [default: 24]")
    parser.add_argument("--epochs", type=int, default=9, help="epochs per trial  [default: 9]")
    parser.add_argument("--epoch-s", type=float, default=0.4, help="mean seconds per epoch  [default: 0.4]")
    parser.add_argument("--checkpoint-every", type=int, default=2, help="epochs between checkpoints  [default: 2]")
    parser.add_argument("--workers", type=int, default=2, help="trials in parallel  [default: 2]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and the candidates  [default: 0]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.kills, arguments.trials = 1, 6
    return arguments


def measure(folder: Path, rule: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a control search and a killed one, and compare them."""
    folder.mkdir()
    moments = random.Random(arguments.seed)
    initial_points = [{"first": width, "second": moments.randint(2, 64)} for width in range(2, 2 + arguments.trials)]
    settings = {
        "trials": arguments.trials,
        "epochs": arguments.epochs,
        "epoch_s": arguments.epoch_s,
        "checkpoint_every": arguments.checkpoint_every,
        "workers": arguments.workers,
        "initial_points": initial_points,
        "rule": rule,
    }
    control, killed = folder / "control", folder / "killed"
    run_to_end(control, settings)
    kills = run_with_kills(killed, settings, moments, count=arguments.kills)
    before, after = records_of(control), records_of(killed)
    rungs = rung_epochs(arguments.epochs, reduction_factor=_REDUCTION_FACTOR)
    return {
        "rule": rule,
        "kills": len(kills),
        "running_trials": float(np.mean([kill.running_trials for kill in kills])),
        "finished": len(after),
        "stopped": sum(record.status is TrialStatus.STOPPED for record in after.values()),
        "lost": len(differences(before, after) if rule == "none" else wrongly_ended(after, arguments, rungs)),
        "fronts_equal": front_of(before) == front_of(after) if rule == "none" else None,
        "inconsistent": inconsistent_rows(killed, after),
        "retrained": max((retrained_epochs(killed, number) for number in after), default=0),
        "workers_s": max(kill.workers_s for kill in kills),
        "ended": sum(kill.ended for kill in kills),
    }


def judge(row: dict[str, Any], arguments: argparse.Namespace) -> list[Verdict]:
    name = "with early stopping" if row["rule"] != "none" else "without early stopping"
    complete = row["lost"] == 0 and row["inconsistent"] == 0 and row["finished"] == arguments.trials
    equal = "study, records and front equal those of the control" if row["rule"] == "none" else "every trial ended once"
    return [
        Verdict(
            text=f"{name}: after {row['kills']} kills, {equal}, and all rows of the study are consistent",
            met=complete and row["fronts_equal"] is not False and row["kills"] == arguments.kills,
        ),
        Verdict(
            text=f"{name}: at most {row['retrained']} epochs were retrained per running trial and kill (checkpoint "
            f"every {arguments.checkpoint_every} epochs)",
            met=row["retrained"] <= arguments.checkpoint_every,
        ),
    ]


def run_to_end(folder: Path, settings: dict[str, Any]) -> None:
    """Run or resume a search and wait for its end."""
    if start_session(folder, settings, mark="").wait(_SESSION_LIMIT_S) != 0:
        raise RuntimeError((folder / "log.txt").read_text()[-2000:])


def run_with_kills(folder: Path, settings: dict[str, Any], moments: random.Random, *, count: int) -> list[Kill]:
    """Kill a search's driver `count` times, then let the search end.

    Three of four kills happen while trials run, a random time after the first one started. The fourth happens while the
    session starts.

    Raises:
        RuntimeError: A session failed by itself.
    """
    kills: list[Kill] = []
    share = 0.5 if settings["rule"] == "none" else 0.2  # early stopping shortens the search
    work_s = share * settings["trials"] * settings["epochs"] * settings["epoch_s"] / settings["workers"]
    while len(kills) < count:
        mark = uuid.uuid4().hex
        known = count_starts(folder)
        session = start_session(folder, settings, mark=mark)
        early = len(kills) % 4 == 3
        while not early and session.poll() is None and count_starts(folder) == known:
            time.sleep(0.05)
        try:
            code = session.wait(moments.uniform(1.0, _START_S) if early else moments.uniform(0.0, 2.0 * work_s / count))
        except subprocess.TimeoutExpired:
            running = running_trials(folder)
            session.send_signal(signal.SIGKILL)
            session.wait()
            kills.append(wait_for_exit(mark, running_trials=len(running)))
            print(f"kill {len(kills)}/{count}: {kills[-1]}", flush=True)
            continue
        if code != 0:
            raise RuntimeError((folder / "log.txt").read_text()[-2000:])
        break
    run_to_end(folder, settings)
    return kills


def count_starts(folder: Path) -> int:
    """Return how many times workers have started a trial, over all sessions."""
    run = RunDirectory(folder)
    numbers = [int(path.name) for path in run.trials.iterdir()] if run.trials.exists() else []
    return sum("started_at" in line for number in numbers for line in read_log(run.trial(number)))


def start_session(folder: Path, settings: dict[str, Any], *, mark: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scale.killed_search", str(folder), json.dumps(settings)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **marked_environment(mark)},
            start_new_session=True,
        )


def wait_for_exit(mark: str, *, running_trials: int) -> Kill:
    """Wait until all processes of a killed search have exited; kill and count those that do not exit by themselves.

    Two of Ray's agents outlive their node.
    """
    started = time.monotonic()
    workers_s, ended = 0.0, 0
    while left := marked_processes(mark):
        elapsed = time.monotonic() - started
        if any(is_worker(process) for process in left):
            workers_s = elapsed
        if elapsed > _LINGER_LIMIT_S:
            ended = len(left)
            for process in left:
                os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.1)
    return Kill(running_trials=running_trials, workers_s=workers_s, ended=ended)


def is_worker(process: int) -> bool:
    """Whether a process runs trials or is ready to run them."""
    title = command_of(process)
    return title.startswith("ray::") and ("Trainable" in title or "IDLE" in title)


if __name__ == "__main__":
    main()
