"""What a search keeps when its driver is killed: kill -9 at random moments, resume, and compare with one left alone.

Trials sleep (`_sleeping.py`); proposer, study, driver, ledger on disk and Ray Tune are the real ones, and the driver is
a process of its own. Candidates are given as points to try first, since what a sampler proposes depends on the order in
which results reach it, and so on the kills; with points, both searches have the same to do, and everything but times
must be equal. A second pair of searches has early stopping on: which trials it stops does depend on the order, so that
only what must hold whatever was stopped is looked at there.

    python benchmarks/search_kills.py [--kills 10] [--trials 24]

The exit code is 1 when anything was lost.
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
    add_common_arguments,
    conditions,
    publish,
)
from benchmarks.scale.comparing import broken, differences, flying, front_of, records_of, redone, unbooked
from benchmarks.scale.sleeping import read_log
from nas_distill.config import AshaConfig
from nas_distill.records import TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.early_stopping.asha import rung_epochs

_REDUCTION_FACTOR = 3.0
_SESSION_LIMIT_S = 300.0
_LINGER_LIMIT_S = 4.0
_START_S = 8.0
"""So long a session takes to start, or longer."""

COLUMNS = (
    Column("rule", "early stopping"),
    Column("kills", "kills", "{}"),
    Column("in_flight", "trials in flight at a kill, mean", "{:.1f}"),
    Column("finished", "trials ended", "{}"),
    Column("stopped", "of them stopped", "{}"),
    Column("lost", "lost or different", "{}"),
    Column("running", "left RUNNING", "{}"),
    Column("redone", "epochs trained again, most per trial and kill", "{}"),
    Column("workers_s", "a worker went on for, most s", "{:.1f}"),
    Column("ended", "processes left over", "{}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What a kill met and left.

    Attributes:
        in_flight: Trials in flight.
        workers_s: Seconds that a worker went on.
        ended: Processes of the session that had to be ended, since they did not end by themselves.
    """

    in_flight: int
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
                title=f"Searches of {arguments.trials} sleeping trials of {arguments.epochs} epochs, whose driver was "
                f"killed; {arguments.workers} at a time, a checkpoint every {arguments.checkpoint_every} epochs",
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=["none", AshaConfig().rule], help="of early stopping")
    parser.add_argument("--kills", type=int, default=10, help="per search")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--epoch-s", type=float, default=0.4)
    parser.add_argument("--checkpoint-every", type=int, default=2, help="epochs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the candidates")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.kills, arguments.trials = 1, 6
    return arguments


def measure(folder: Path, rule: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs a search undisturbed and one that is killed, and compares them."""
    folder.mkdir()
    moments = random.Random(arguments.seed)
    points = [{"first": width, "second": moments.randint(2, 64)} for width in range(2, 2 + arguments.trials)]
    settings = {
        "trials": arguments.trials,
        "epochs": arguments.epochs,
        "epoch_s": arguments.epoch_s,
        "checkpoint_every": arguments.checkpoint_every,
        "workers": arguments.workers,
        "points": points,
        "rule": rule,
    }
    control, killed = folder / "control", folder / "killed"
    undisturbed(control, settings)
    kills = disturbed(killed, settings, moments, count=arguments.kills)
    before, after = records_of(control), records_of(killed)
    rungs = rung_epochs(arguments.epochs, reduction_factor=_REDUCTION_FACTOR)
    return {
        "rule": rule,
        "kills": len(kills),
        "in_flight": float(np.mean([kill.in_flight for kill in kills])),
        "finished": len(after),
        "stopped": sum(record.status is TrialStatus.STOPPED for record in after.values()),
        "lost": len(differences(before, after) if rule == "none" else broken(after, arguments, rungs)),
        "fronts_equal": front_of(before) == front_of(after) if rule == "none" else None,
        "running": unbooked(killed, after),
        "redone": max((redone(killed, number) for number in after), default=0),
        "workers_s": max(kill.workers_s for kill in kills),
        "ended": sum(kill.ended for kill in kills),
    }


def judge(row: dict[str, Any], arguments: argparse.Namespace) -> list[Verdict]:
    name = "early stopping on" if row["rule"] != "none" else "no early stopping"
    whole = row["lost"] == 0 and row["running"] == 0 and row["finished"] == arguments.trials
    equal = (
        "study, ledger and front are the undisturbed search's" if row["rule"] == "none" else "every trial ended once"
    )
    return [
        Verdict(
            text=f"{name}: after {row['kills']} kills {equal}, and no row is RUNNING",
            met=whole and row["fronts_equal"] is not False and row["kills"] == arguments.kills,
        ),
        Verdict(
            text=f"{name}: at most {row['redone']} epochs were trained again per trial in flight and kill (checkpoint "
            f"every {arguments.checkpoint_every})",
            met=row["redone"] <= arguments.checkpoint_every,
        ),
    ]


def undisturbed(folder: Path, settings: dict[str, Any]) -> None:
    """Runs a search, or what is left of it, to its end."""
    if begin(folder, settings, mark="").wait(_SESSION_LIMIT_S) != 0:
        raise RuntimeError((folder / "log.txt").read_text()[-2000:])


def disturbed(folder: Path, settings: dict[str, Any], moments: random.Random, *, count: int) -> list[Kill]:
    """Kills a search's driver `count` times, and lets it end; raises RuntimeError when it fails by itself.

    Three kills of four come while trials are in flight, a random time after the first began; the others while the
    session starts.
    """
    kills: list[Kill] = []
    share = 0.5 if settings["rule"] == "none" else 0.2  # trials that are stopped early leave less time to kill in
    work_s = share * settings["trials"] * settings["epochs"] * settings["epoch_s"] / settings["workers"]
    while len(kills) < count:
        mark = uuid.uuid4().hex
        known = begun_trials(folder)
        session = begin(folder, settings, mark=mark)
        early = len(kills) % 4 == 3
        while not early and session.poll() is None and begun_trials(folder) == known:
            time.sleep(0.05)
        try:
            code = session.wait(moments.uniform(1.0, _START_S) if early else moments.uniform(0.0, 2.0 * work_s / count))
        except subprocess.TimeoutExpired:
            flying_now = flying(folder)
            session.send_signal(signal.SIGKILL)
            session.wait()
            kills.append(wait_for_the_last(mark, in_flight=len(flying_now)))
            print(f"kill {len(kills)}/{count}: {kills[-1]}", flush=True)
            continue
        if code != 0:
            raise RuntimeError((folder / "log.txt").read_text()[-2000:])
        break
    undisturbed(folder, settings)
    return kills


def begun_trials(folder: Path) -> int:
    """Returns how often a worker began a trial, in all sessions."""
    run = RunDirectory(folder)
    numbers = [int(path.name) for path in run.trials.iterdir()] if run.trials.exists() else []
    return sum("begun_at" in line for number in numbers for line in read_log(run.trial(number)))


def begin(folder: Path, settings: dict[str, Any], *, mark: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scale.killed_search", str(folder), json.dumps(settings)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **marked_environment(mark)},
            start_new_session=True,
        )


def wait_for_the_last(mark: str, *, in_flight: int) -> Kill:
    """Waits until none of a killed search's processes is left; those that linger are ended, and counted.

    Two agents of Ray's own outlive the node that they belong to.
    """
    begun = time.monotonic()
    workers_s, ended = 0.0, 0
    while left := marked_processes(mark):
        elapsed = time.monotonic() - begun
        if any(is_worker(process) for process in left):
            workers_s = elapsed
        if elapsed > _LINGER_LIMIT_S:
            ended = len(left)
            for process in left:
                os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.1)
    return Kill(in_flight=in_flight, workers_s=workers_s, ended=ended)


def is_worker(process: int) -> bool:
    """Whether it runs trials, or may."""
    title = command_of(process)
    return title.startswith("ray::") and ("Trainable" in title or "IDLE" in title)


if __name__ == "__main__":
    main()
