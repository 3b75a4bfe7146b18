"""Check the CUDA code paths and measure them, in under eight minutes, on a machine with one GPU.

    make gpu-check                       # or: python -m benchmarks.gpu_check
    python -m benchmarks.gpu_check --device cpu    # dry run on a machine without a GPU, at quick sizes

Needs torch 2.11 or newer, timm, and the packages in `REQUIRED`; neither Ray nor Optuna. The steps run one after
another, each in a process of its own with a time limit:

1. the CUDA tests (`tests/train/test_cuda.py`),
2. `step_cost`: one training step with stored teacher outputs, with the online teacher, and the bare student step,
3. `packing`: trials per hour with 1, 2, 4 and 8 trials on one GPU,
4. `distillation`: one small student distilled with two losses and without the teacher.

A step that fails does not keep the next one from running. Results are written to `benchmarks/results/`; the exit
status is 1 if any step failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common.program import RESULTS, Column, Report, Table, conditions, publish

CHECKOUT = Path(__file__).parents[2]
REQUIRED = (
    "PIL", "hypothesis", "numpy", "pydantic", "pytest", "pytest_timeout", "rich", "safetensors", "scipy",
    "sklearn", "timm", "torchvision",
)  # fmt: skip
EXIT_FAILED = 1
EXIT_NOT_READY = 2
_SMALL_TEACHER = ("--teachers", "small teacher")
_LOSSES = ("--losses", "kd", "dist")

COLUMNS = (
    Column("step", "step"),
    Column("outcome", "outcome"),
    Column("seconds", "seconds", "{:.0f}"),
    Column("last_line", "last line of output"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the check.

    Attributes:
        name: Name of the step in the summary.
        module: Module to run with `python -m`.
        arguments: Command-line arguments of the module.
        limit_s: Time limit in seconds.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one step ended.

    Attributes:
        step: The step.
        status: Exit status; None if the time limit was reached.
        seconds: Wall time in seconds.
        output: Standard output and standard error.
    """

    step: Step
    status: int | None
    seconds: float
    output: str

    @property
    def text(self) -> str:
        """Return the outcome in words."""
        if self.status is None:
            return f"stopped at {self.step.limit_s:.0f} s"
        return "passed" if self.status == 0 else f"failed (exit status {self.status})"


def plan(device: str, out: Path) -> tuple[Step, ...]:
    """Return the steps for a device; on a CPU they run at quick sizes."""
    common = ("--device", device, "--out", str(out))
    tests = Step(
        name="CUDA tests",
        module="pytest",
        arguments=("tests/train/test_cuda.py", "-q", "-rs", "-p", "no:cacheprovider", "--override-ini", "addopts="),
        limit_s=120,
    )
    if device == "cpu":
        return (
            tests,
            Step(
                name="step_cost",
                module="benchmarks.step_cost",
                arguments=(*common, *_SMALL_TEACHER, "--quick"),
                limit_s=900,
            ),
            Step(name="packing", module="benchmarks.packing", arguments=(*common, "--quick"), limit_s=900),
            Step(
                name="distillation",
                module="benchmarks.distillation",
                arguments=(*common, *_LOSSES, "--quick"),
                limit_s=900,
            ),
        )
    return (
        tests,
        Step(
            name="step_cost",
            module="benchmarks.step_cost",
            arguments=(*common, *_SMALL_TEACHER, "--rounds", "3", "--images", "4096"),
            limit_s=120,
        ),
        Step(
            name="packing",
            module="benchmarks.packing",
            arguments=(*common, "--rounds", "1", "--epochs", "5", "--students", "100k"),
            limit_s=120,
        ),
        Step(
            name="distillation",
            module="benchmarks.distillation",
            arguments=(*common, *_LOSSES, "--seeds", "1", "--epochs", "8"),
            limit_s=100,
        ),
    )


def run(step: Step) -> Outcome:
    """Run one step, print its output and return how it ended."""
    started = time.monotonic()
    command = [sys.executable, "-m", step.module, *step.arguments]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=step.limit_s)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers too: they hold the pipe open
        output, _ = process.communicate()
        status = None
    print(output, flush=True)
    return Outcome(step=step, status=status, seconds=time.monotonic() - started, output=output)


def summary(outcomes: Sequence[Outcome], device: str) -> Report:
    """Return the table of steps as a report."""
    rows = tuple(
        {
            "step": outcome.step.name,
            "outcome": outcome.text,
            "seconds": outcome.seconds,
            "last_line": next((line for line in reversed(outcome.output.splitlines()) if line.strip()), "")[:100],
        }
        for outcome in outcomes
    )
    table = Table(title=f"GPU check on {device}", columns=COLUMNS, rows=rows)
    facts = conditions(seed=0, threads=torch.get_num_threads(), device=device)
    return Report(name=f"gpu_check/{device}", tables=(table,), conditions=facts)


def parse() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder for the results (default: benchmarks/results)"
    )
    return parser.parse_args()


def main() -> None:
    """Run the check; exit with 0 if every step passed, 1 if one failed, 2 if the machine is not ready."""
    arguments = parse()
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"gpu_check: these packages are missing: {', '.join(missing)}; install them and run it again",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_NOT_READY)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("gpu_check: torch finds no CUDA device; use --device cpu for a dry run", file=sys.stderr)
        raise SystemExit(EXIT_NOT_READY)
    outcomes = []
    for step in plan(arguments.device, arguments.out.resolve()):
        print(f"== {step.name}", flush=True)
        outcomes.append(run(step))
    publish(summary(outcomes, arguments.device), argparse.Namespace(quick=False, out=arguments.out))
    if any(outcome.status != 0 for outcome in outcomes):
        raise SystemExit(EXIT_FAILED)
