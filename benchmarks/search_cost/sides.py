"""The two sides of `search_cost.py`, each a program of its own, and the teachers that both are given."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from benchmarks.common.materials import HINTON, LARGE_TEACHER, SMALL_TEACHER, pictures
from benchmarks.common.process import Usage, run_watched
from nas_distill.config import LOCAL_DIR
from nas_distill.data.splits import ImageSplit
from nas_distill.models.cost import measure_cost
from nas_distill.records import StudentSpec
from nas_distill.run_directory.layout import RunDirectory, TrialFolder

IMAGE_SIZE = 32
TEACHERS = {"small": (SMALL_TEACHER, 12), "large": (LARGE_TEACHER, 5)}
"""Network and the epochs that it is trained for beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One search.

    Attributes:
        usage: What it used.
        first_training_s: From the program's start to the start of the first training.
        trials_s: From there to the end of the last training.
        busy_s: Of all trials together, from each one's start to its end.
        gaps: Of the students trained to the end, percentage points.
        macs: Of those students.
    """

    usage: Usage
    first_training_s: float
    trials_s: float
    busy_s: float
    gaps: tuple[float, ...]
    macs: tuple[int, ...]

    @property
    def fixed_s(self) -> float:
        """Seconds that do not grow with the number of trials."""
        return self.usage.wall_s - self.trials_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What both sides are asked to do.

    Attributes:
        arguments: Of the command line.
        teacher: A timm local-dir.
        data: NPZ of the prepared images.
        seed: Of everything.
        candidates: As `write_candidates` wrote them; None leaves them to each side's sampler.
    """

    arguments: argparse.Namespace
    teacher: Path
    data: Path
    seed: int
    candidates: Path | None


def arrays(prefix: str, split: ImageSplit) -> dict[str, Any]:
    batches = split.batches(torch.arange(split.num_images), 1024, device=torch.device("cpu"))
    images = torch.cat([batch.images for batch in batches])
    return {f"{prefix}_images": pictures(images), f"{prefix}_labels": split.labels.numpy()}


def make_teacher(name: str, arguments: argparse.Namespace, folder: Path) -> Path:
    """Trains the teacher, unless `--teachers` holds it."""
    out = (arguments.teachers or folder / "teachers").resolve() / name
    if not (out / "metrics.json").exists():
        spec, epochs = TEACHERS[name]
        command = [
            sys.executable, "-m", "nas_distill", "teacher", "--data", "digits", "--image-size", str(IMAGE_SIZE),
            "--model", spec.architecture, "--epochs", str(2 if arguments.quick else epochs), "--out", str(out),
        ]  # fmt: skip
        for key, value in spec.keyword_arguments().items():
            command += ["--model-arg", f"{key}={json.dumps(value)}"]
        run_watched(command, folder=folder / f"{name}-teacher")
    return out


def ours(task: Task, folder: Path) -> Searched:
    arguments = task.arguments
    space = "tiny" if task.candidates is None else str(task.candidates.with_suffix(".py"))
    run = folder / "run"
    command = [
        sys.executable, "-m", "nas_distill", "search", "--data", "digits", "--image-size", str(IMAGE_SIZE),
        "--teacher", f"{LOCAL_DIR}{task.teacher}", "--space", space, "--trials", str(arguments.trials),
        "--epochs", str(arguments.epochs), "--batch-size", str(arguments.batch_size),
        "--max-parallel", str(arguments.workers), "--gpus-per-trial", str(arguments.gpus), "--seed", str(task.seed),
        "--asha", "none", "--out", str(run),  # all train as many epochs
        "--set", f"recipe.losses={json.dumps(HINTON['losses'])}",
        "--set", f"recipe.label_weight={HINTON['label_weight']}",
    ]  # fmt: skip
    for override in arguments.set:
        command += ["--set", override]
    usage = run_watched(command, folder=folder)
    trials = [path for path in sorted(RunDirectory(run).trials.iterdir()) if (path / "result.json").exists()]
    spans = [((path / "task.json").stat().st_mtime, (path / "result.json").stat().st_mtime) for path in trials]
    ended = [TrialFolder(path).read_record() for path in trials]
    records = [record for record in ended if record is not None]
    complete = [record for record in records if record.metrics is not None and record.epochs == arguments.epochs]
    return Searched(
        usage=usage,
        **times(spans, usage),
        gaps=tuple(record.metrics.gap_points for record in complete if record.metrics is not None),
        macs=tuple(record.cost.macs for record in complete),
    )


def theirs(task: Task, folder: Path) -> Searched:
    arguments = task.arguments
    command = [
        sys.executable, "-m", "benchmarks.search_cost.peer_search",
        "--data", str(task.data), "--teacher", str(task.teacher), "--trials", str(arguments.trials),
        "--epochs", str(arguments.epochs), "--batch-size", str(arguments.batch_size),
        "--workers", str(arguments.workers), "--loader-workers", str(arguments.loader_workers),
        "--gpus", str(arguments.gpus), "--seed", str(task.seed), "--out", str(folder / "tune"),
    ]  # fmt: skip
    if task.candidates is not None:
        command += ["--candidates", str(task.candidates)]
    usage = run_watched(command, folder=folder)
    trials = json.loads(usage.output.strip().splitlines()[-1])["trials"]
    spans = [(trial["began_at"], trial["ended_at"]) for trial in trials]
    complete = [trial for trial in trials if trial["epochs"] == arguments.epochs]
    return Searched(
        usage=usage,
        **times(spans, usage),
        gaps=tuple(trial["gap"] for trial in complete),
        macs=tuple(macs(*trial["student"]) for trial in complete),
    )


def times(spans: list[tuple[float, float]], usage: Usage) -> dict[str, float]:
    """Returns the times of `Searched` from the starts and ends of all trials."""
    first, last = min(began for began, _ in spans), max(ended for _, ended in spans)
    return {
        "first_training_s": first - usage.started_at,
        "trials_s": last - first,
        "busy_s": sum(ended - began for began, ended in spans),
    }


def macs(architecture: str, arguments: dict[str, Any]) -> int:
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    return measure_cost(spec, num_classes=10, channels=1, image_size=IMAGE_SIZE).macs
