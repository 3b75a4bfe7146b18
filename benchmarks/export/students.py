"""Export one random student in all formats and measure what comes out."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from nas_distill.callbacks import NullProgress
from nas_distill.data.splits import ImageSplit
from nas_distill.errors import NasDistillError
from nas_distill.export.check import Checker
from nas_distill.export.latency import measure_latencies
from nas_distill.export.writer import FormatWriter
from nas_distill.inference.classifier import Classifier, network_classifier
from nas_distill.models.student import build_student
from nas_distill.records import Cost, StudentSpec
from nas_distill.records.export import FILES, FormatName
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.student_interface import StudentInterface

CPU = torch.device("cpu")
PYTORCH = "pytorch"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatResult:
    """One exported file.

    Attributes:
        failure: Why there is no file; empty for a file that computes what PyTorch computes.
        exporter: torch's exporter of an ONNX file.
        lost_points: Accuracy lost against PyTorch, percentage points.
        largest_difference: Largest difference of a logit, as a share of the largest logit.
        size_bytes: Size of the file, bytes.
        latency_ms: Median time of one image, milliseconds.
        seconds: Time to write and check the file, seconds.
    """

    failure: str = ""
    exporter: str = ""
    lost_points: float = 0.0
    largest_difference: float = 0.0
    size_bytes: int = 0
    latency_ms: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentResult:
    """One student in all formats.

    Attributes:
        family: Search space that it was drawn from.
        spec: The student.
        cost: Its cost.
        top1: Validation accuracy in PyTorch, 0 to 1.
        latency_ms: Median time of one image in PyTorch with merged branches, milliseconds.
        formats: Result by format.
    """

    family: str
    spec: StudentSpec
    cost: Cost
    top1: float
    latency_ms: float
    formats: dict[FormatName, FormatResult] = field(default_factory=dict)


def export_random_student(
    family: str, spec: StudentSpec, cost: Cost, splits: tuple[ImageSplit, ImageSplit], *, steps: int, seed: int
) -> StudentResult:
    """Train a student briefly, export it, and return the results.

    Args:
        family: Search space that it was drawn from.
        spec: The student.
        cost: Its cost.
        splits: Training and validation images.
        steps: Training steps of 64 images. They make accuracy and activations realistic enough for int8.
        seed: Seed of weights and image order.
    """
    train, validation = splits
    student = _trained(spec, train, steps=steps, seed=seed)
    checker = Checker(student, validation)
    largest = checker.tolerance / 1e-3
    files: dict[FormatName, FormatResult] = {}
    classifiers: dict[str, Classifier] = {}
    with tempfile.TemporaryDirectory() as scratch:
        writer = FormatWriter(student, checker, train, folder=Path(scratch), progress=NullProgress())
        classifiers[PYTORCH] = writer.merged
        for name in FILES:
            started = time.perf_counter()
            try:
                written = writer.write(name)
            except NasDistillError as error:
                files[name] = FormatResult(failure=str(error), seconds=time.perf_counter() - started)
                continue
            classifiers[name] = written.classifier
            files[name] = FormatResult(
                exporter=written.exporter or "",
                lost_points=100.0 * (checker.scores.top1 - written.comparison.scores.top1),
                largest_difference=written.comparison.largest_difference / largest,
                size_bytes=(Path(scratch) / FILES[name]).stat().st_size,
                seconds=time.perf_counter() - started,
            )
        latencies = measure_latencies(classifiers)
    return StudentResult(
        family=family,
        spec=spec,
        cost=cost,
        top1=checker.scores.top1,
        latency_ms=latencies[PYTORCH].median_ms,
        formats={
            name: replace(one, latency_ms=latencies[name].median_ms) if name in latencies else one
            for name, one in files.items()
        },
    )


def _trained(spec: StudentSpec, train: ImageSplit, *, steps: int, seed: int) -> Classifier:
    manifest = train.manifest
    torch.manual_seed(seed)
    network = build_student(
        spec, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
    )
    student = network_classifier(
        network,
        StudentInterface(
            architecture=spec.architecture,
            arguments=spec.arguments,
            class_names=manifest.class_names,
            channels=manifest.channels,
            image_size=manifest.image_size,
            normalisation=Normalisation(mean=manifest.mean, std=manifest.std),
        ),
    )
    network.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 10, (steps - step) / steps * 1.5)
        order = torch.randint(train.num_images, (64,), generator=generator)
        (batch,) = train.batches(order, 64, device=CPU)
        optimizer.zero_grad()
        cross_entropy(network(student.inputs(batch.images)), batch.labels).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.requires_grad_(False).eval()
    return student
