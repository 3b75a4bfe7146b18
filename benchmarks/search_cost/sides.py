"""Both sides of `benchmarks.search_cost`, each a program of its own, and the teachers that they share."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from benchmarks.common.materials import HINTON, LARGE_TEACHER, SMALL_TEACHER, as_pil_arrays
from benchmarks.common.process import Usage, run_watched
from nas_distill.config import LOCAL_DIR
from nas_distill.data.splits import ImageSplit
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import StudentSpec
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder

IMAGE_SIZE = 32
TEACHERS = {"small": (SMALL_TEACHER, 12), "large": (LARGE_TEACHER, 5)}
"""Architecture of each teacher, and the number of epochs that it is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSearch:
    """Measurements of one search.

    Attributes:
        usage: Resources of the whole program.
        first_training_s: Seconds from the start of the program to the start of the first training.
        trials_s: Seconds from there to the end of the last training.
        busy_s: Sum over all trials of the seconds from start to end.
        gaps: Gaps of the students trained to the end, in percentage points.
        macs: Multiply-accumulates of these students.
    """

    usage: Usage
    first_training_s: float
    trials_s: float
    busy_s: float
    gaps: tuple[float, ...]
    macs: tuple[int, ...]

    @property
    def fixed_s(self) -> float:
        """Seconds that do not depend on the number of trials."""
        return self.usage.wall_s - self.trials_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTask:
    """Task of both sides.

    Attributes:
        arguments: Command-line arguments.
        teacher: timm local-dir of the teacher.
        data: NPZ file of the prepared images.
        seed: Seed of the search.
        candidates: File of `write_candidates`.
    """

    arguments: argparse.Namespace
    teacher: Path
    data: Path
    seed: int
    candidates: Path


def arrays(prefix: str, split: ImageSplit) -> dict[str, Any]:
    batches = split.batches(torch.arange(split.num_images), 1024, device=torch.device("cpu"))
    images = torch.cat([batch.images for batch in batches])
    return {f"{prefix}_images": as_pil_arrays(images), f"{prefix}_labels": split.labels.numpy()}


def make_teacher(name: str, arguments: argparse.Namespace, folder: Path) -> Path:
    """Train a teacher, unless the folder `--teachers` has it, and return its folder."""
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


def run_ours(task: SearchTask, folder: Path) -> MeasuredSearch:
    arguments = task.arguments
    run = folder / "run"
    command = [
        sys.executable, "-m", "nas_distill", "search", "--data", "digits", "--image-size", str(IMAGE_SIZE),
        "--teacher", f"{LOCAL_DIR}{task.teacher}", "--space", str(task.candidates.with_suffix(".py")),
        "--trials", str(arguments.trials), "--epochs", str(arguments.epochs), "--batch-size", str(arguments.batch_size),
        "--max-parallel", str(arguments.workers), "--gpus-per-trial", str(arguments.gpus), "--seed", str(task.seed),
        "--asha", "none", "--out", str(run),  # every trial trains for all epochs
        "--set", f"recipe.losses={json.dumps(HINTON['losses'])}",
        "--set", f"recipe.label_weight={HINTON['label_weight']}",
    ]  # fmt: skip
    usage = run_watched(command, folder=folder)
    trials = [path for path in sorted(RunDirectory(run).trials.iterdir()) if (path / "result.json").exists()]
    spans = [((path / "task.json").stat().st_mtime, (path / "result.json").stat().st_mtime) for path in trials]
    finished = [TrialFolder(path).read_record() for path in trials]
    records = [record for record in finished if record is not None]
    complete = [record for record in records if record.metrics is not None and record.epochs == arguments.epochs]
    return MeasuredSearch(
        usage=usage,
        **times(spans, usage),
        gaps=tuple(record.metrics.gap_points for record in complete if record.metrics is not None),
        macs=tuple(record.cost.macs for record in complete),
    )


def run_peer(task: SearchTask, folder: Path) -> MeasuredSearch:
    arguments = task.arguments
    command = [
        sys.executable, "-m", "benchmarks.search_cost.peer_search",
        "--data", str(task.data), "--teacher", str(task.teacher), "--trials", str(arguments.trials),
        "--epochs", str(arguments.epochs), "--batch-size", str(arguments.batch_size),
        "--workers", str(arguments.workers), "--loader-workers", str(arguments.loader_workers),
        "--gpus", str(arguments.gpus), "--seed", str(task.seed), "--candidates", str(task.candidates),
        "--out", str(folder / "tune"),
    ]  # fmt: skip
    usage = run_watched(command, folder=folder)
    trials = json.loads(usage.output.strip().splitlines()[-1])["trials"]
    spans = [(trial["started_at"], trial["ended_at"]) for trial in trials]
    complete = [trial for trial in trials if trial["epochs"] == arguments.epochs]
    return MeasuredSearch(
        usage=usage,
        **times(spans, usage),
        gaps=tuple(trial["gap"] for trial in complete),
        macs=tuple(macs(*trial["student"]) for trial in complete),
    )


def times(spans: list[tuple[float, float]], usage: Usage) -> dict[str, float]:
    """Return the times of a `MeasuredSearch` from the starts and ends of all trials."""
    first, last = min(started for started, _ in spans), max(ended for _, ended in spans)
    return {
        "first_training_s": first - usage.started_at,
        "trials_s": last - first,
        "busy_s": sum(ended - started for started, ended in spans),
    }


def macs(architecture: str, arguments: dict[str, Any]) -> int:
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    return measure_cost(spec, num_classes=10, channels=1, image_size=IMAGE_SIZE).macs
