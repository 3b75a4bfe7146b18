"""Measure whether random students of every family export, and what the files are worth.

Students are drawn from each search space, trained for a few steps, and exported to every format with the code behind
`nas_distill export`: each file is read again and compared with PyTorch, one image at a time and in batches. The
families take turns, and the program stops after `--minutes`.

- "Parity" is a logit difference of at most a thousandth of the largest logit. int8 files have no such limit; their loss
  of accuracy is reported.
- Latency is one image on one thread, the median of interleaved rounds; the table has medians over students.

    python -m benchmarks.export [--data folder:PATH] [--image-size 32] [--students 4] [--minutes 30]
    python -m benchmarks.export --quick

The exit status is 1 if fewer than 95 % of the float files have parity.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common.materials import make_image_folder
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
from benchmarks.export.students import StudentResult, export_random_student
from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig
from nas_distill.config.space import PERMISSIVE
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import open_split
from nas_distill.errors import NasDistillError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Cost, SpaceContext, StudentSpec, TeacherShape
from nas_distill.records.export import FormatName
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import load_space

FAMILIES = (
    "resnet", "resnetv2", "regnet", "repvgg", "mobilenet", "efficientnet", "ghostnet", "efficientvit", "convnext",
    "swin", "vit", "mixer", "tiny", "pretrained",
)  # fmt: skip
PARITY_TARGET = 0.95
INT8_TARGET_POINTS = 1.0
_FLOAT: tuple[FormatName, ...] = ("timm", "onnx", "torch-export")
_IMAGES = 1000


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    results: list[StudentResult] = []
    with tempfile.TemporaryDirectory() as scratch:
        data = DataConfig(
            source=arguments.data or stripes(Path(scratch), arguments),
            image_size=arguments.image_size,
            max_validation_images=arguments.validation_images,
        )
        folder = Path(scratch) / "data"
        manifest = prepare_data(data, folder, NullProgress())
        splits = open_split(data, folder, "train"), open_split(data, folder, "validation")
        started = time.monotonic()
        for family, spec, cost in candidates(manifest, arguments):
            if time.monotonic() - started > 60 * arguments.minutes:
                break
            one = export_random_student(family, spec, cost, splits, steps=arguments.steps, seed=arguments.seed)
            results.append(one)
            print(f"{time.monotonic() - started:.0f} s: {line(one)}", flush=True)
    report = describe(results, manifest, arguments)
    publish(report, arguments)
    if not arguments.quick and not report.verdicts[0].met:
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("export", __doc__)
    parser.add_argument("--data", help="folder:PATH of an image folder  [default: stripes]")
    parser.add_argument("--name", default="stripes", help="name of the images in the results  [default: stripes]")
    parser.add_argument("--image-size", type=int, default=32, help="image size, pixels  [default: 32]")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--students", type=int, default=10, help="most students of each family  [default: 10]")
    parser.add_argument("--minutes", type=float, default=30.0, help="start no student after this time  [default: 30]")
    parser.add_argument("--validation-images", type=int, default=100, help="most validation images  [default: 100]")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a student  [default: 100]")
    parser.add_argument("--seed", type=int, default=0, help="seed of students and weights  [default: 0]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.students, arguments.steps, arguments.families = 1, 5, arguments.families[:1]
    return arguments


def stripes(scratch: Path, arguments: argparse.Namespace) -> str:
    folder = make_image_folder(scratch / "stripes", images=_IMAGES, image_size=arguments.image_size)
    return f"folder:{folder / 'train'}"


def candidates(manifest: DataManifest, arguments: argparse.Namespace) -> Iterator[tuple[str, StudentSpec, Cost]]:
    """Yield different students, one of each family in turn."""
    shape = manifest.network_shape
    teacher = TeacherShape(
        architecture="resnet18", arguments={"layers": (2, 2, 2, 2), "channels": (64, 128, 256, 512)},
        num_params=11_181_642, macs=600_000_000, image_size=shape.image_size,
    )  # fmt: skip
    context = SpaceContext(
        num_classes=shape.num_classes, channels=shape.channels, image_size=shape.image_size,
        teacher=teacher,
        licences=PERMISSIVE,
    )  # fmt: skip
    drawn = {
        name: list(dict.fromkeys(sample_space(load_space(name), 10 * arguments.students, arguments.seed, context)))
        for name in arguments.families
    }
    for _ in range(arguments.students):
        for name, specs in drawn.items():
            while specs:
                spec = specs.pop(0)
                try:
                    cost = measure_cost(spec, num_classes=shape.num_classes, channels=shape.channels,
                                        image_size=shape.image_size)  # fmt: skip
                except NasDistillError:
                    continue  # a search rejects it too
                yield name, spec, cost
                break


def line(one: StudentResult) -> str:
    parts = [
        f"{name} failed: {result.failure}"
        if result.failure
        else f"{name} {result.seconds:.0f} s, {result.largest_difference:.0e}, {result.latency_ms:.2f} ms"
        for name, result in one.formats.items()
    ]
    return (
        f"{one.family}, {one.spec.architecture}, {one.cost.num_params:,} parameters, {100 * one.top1:.0f} %: "
        + "; ".join(parts)
    )


def describe(results: Sequence[StudentResult], manifest: DataManifest, arguments: argparse.Namespace) -> Report:
    families = [name for name in arguments.families if any(one.family == name for one in results)]
    size = f"{manifest.channels}x{manifest.image_size}x{manifest.image_size}"
    title = f"{len(results)} random students on {arguments.name}, {size}"
    tables = [
        Table(
            title=f"Export, {title}",
            columns=(
                Column("family", "family"),
                Column("students", "students"),
                *(Column(f"{name}_parity", f"{name} with parity") for name in _FLOAT),
                Column("torchscript", "of these by TorchScript"),
                Column("difference", "largest logit difference, share", "{:.0e}"),
                Column("seconds", "s per export", "{:.0f}"),
            ),
            rows=tuple(parity_row(name, [one for one in results if one.family == name]) for name in families),
        ),
        Table(
            title=f"Size and latency (medians), {title}",
            columns=(
                Column("family", "family"),
                Column("params", "parameters", "{:,.0f}"),
                Column("onnx_kb", "ONNX, kB", "{:,.0f}"),
                Column("int8_kb", "int8, kB", "{:,.0f}"),
                Column("pytorch_ms", "PyTorch, ms", "{:.2f}"),
                Column("onnx_ms", "ONNX Runtime, ms", "{:.2f}"),
                Column("int8_ms", "int8, ms", "{:.2f}"),
                Column("top1", "top-1, %", "{:.1f}"),
                Column("int8_lost", "int8 loses, points", "{:+.2f}"),
                Column("int8_worst", "at most", "{:+.2f}"),
            ),
            rows=tuple(speed_row(name, [one for one in results if one.family == name]) for name in families),
        ),
    ]
    failures = tuple(
        {"student": f"{one.family}: {one.spec.architecture}", "format": name, "reason": result.failure}
        for one in results
        for name, result in one.formats.items()
        if result.failure
    )
    if failures:
        columns = (Column("student", "student"), Column("format", "format"), Column("reason", "reason"))
        tables.append(Table(title="Failures", columns=columns, rows=failures))
    return Report(
        name="export/students",
        tables=tuple(tables),
        verdicts=verdicts(results),
        conditions=conditions(
            seed=arguments.seed, threads=1, steps=arguments.steps, validation_images=arguments.validation_images
        ),
    )


def parity_row(family: str, results: Sequence[StudentResult]) -> dict[str, Any]:
    passed = {name: [one for one in results if not one.formats[name].failure] for name in _FLOAT}
    differences = [one.formats[name].largest_difference for name, group in passed.items() for one in group]
    return {
        "family": family,
        "students": len(results),
        **{f"{name}_parity": len(group) for name, group in passed.items()},
        "torchscript": sum(one.formats["onnx"].exporter == "torchscript" for one in passed["onnx"]),
        "difference": max(differences, default=None),
        "seconds": median(sum(result.seconds for result in one.formats.values()) for one in results),
    }


def speed_row(family: str, results: Sequence[StudentResult]) -> dict[str, Any]:
    whole = [one for one in results if not one.formats["onnx"].failure and not one.formats["onnx-int8"].failure]
    if not whole:
        return {"family": family}
    onnx, int8 = [one.formats["onnx"] for one in whole], [one.formats["onnx-int8"] for one in whole]
    return {
        "family": family,
        "params": median(one.cost.num_params for one in whole),
        "onnx_kb": median(one.size_bytes for one in onnx) / 1e3,
        "int8_kb": median(one.size_bytes for one in int8) / 1e3,
        "pytorch_ms": median(one.latency_ms for one in whole),
        "onnx_ms": median(one.latency_ms for one in onnx),
        "int8_ms": median(one.latency_ms for one in int8),
        "top1": 100 * median(one.top1 for one in whole),
        "int8_lost": median(one.lost_points for one in int8),
        "int8_worst": max(one.lost_points for one in int8),
    }


def verdicts(results: Sequence[StudentResult]) -> tuple[Verdict, ...]:
    files = [one.formats[name] for one in results for name in _FLOAT]
    passed = sum(not one.failure for one in files)
    share = passed / len(files)
    quantised = [one.formats["onnx-int8"] for one in results]
    lost = [one.lost_points for one in quantised if not one.failure]
    within = sum(points <= INT8_TARGET_POINTS for points in lost)
    return (
        Verdict(
            text=f"{passed} of {len(files)} float files ({100 * share:.1f} %) have parity; target: "
            f"{100 * PARITY_TARGET:.0f} %",
            met=share >= PARITY_TARGET,
        ),
        Verdict(
            text=f"int8 loses at most {INT8_TARGET_POINTS:g} point in {within} of {len(lost)} students; "
            f"{len(quantised) - len(lost)} have no int8 file",
        ),
    )


if __name__ == "__main__":
    main()
