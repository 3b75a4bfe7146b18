"""The record of an export: `export.json` in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from nas_distill.records.base import FrozenArguments, FrozenTexts, Record, Share
from nas_distill.records.cost import Timing
from nas_distill.records.student import StudentSpec
from nas_distill.records.student_interface import StudentInterface

FormatName = Literal["timm", "onnx", "onnx-int8", "torch-export"]

FILES: Mapping[FormatName, str] = MappingProxyType(
    {
        "timm": "model.safetensors",
        "onnx": "model.onnx",
        "onnx-int8": "model.int8.onnx",
        "torch-export": "model.pt2",
    }
)
"""Name of the file with the weights of each format, in the folder of an export."""

Exporter = Literal["dynamo", "torchscript"]


class Scores(Record):
    """Metrics of a network on a set of labelled images.

    Attributes:
        images: Number of images.
        top1: Accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels, nats.
        ece: Expected calibration error (see `StudentMetrics.ece`), 0 to 1.
    """

    images: PositiveInt
    top1: Share
    nll_nats: NonNegativeFloat
    ece: Share


class FormatReport(Record):
    """One exported file, measured after it was read again.

    Attributes:
        name: Name of the format.
        files: SHA-256 of each file of the format, by its name.
        size_bytes: Size of the file with the weights, bytes.
        fused: Whether branches that the network has for training only are merged.
        exporter: torch's exporter that wrote an ONNX file; None for other formats.
        opset: Version of the ONNX operators; None for other formats.
        scores: Metrics on the validation images, in batches.
        top1_one_by_one: Accuracy on `images_one_by_one` validation images in batches of one, 0 to 1.
        images_one_by_one: Number of these images.
        largest_difference: Largest absolute difference of a logit from PyTorch's, over both passes.
        changed_predictions: Number of validation images with another predicted class than in PyTorch.
        latency: Time of one image on one CPU thread.
    """

    name: FormatName
    files: FrozenTexts
    size_bytes: PositiveInt
    fused: bool
    exporter: Exporter | None = None
    opset: PositiveInt | None = None
    scores: Scores
    top1_one_by_one: Share
    images_one_by_one: PositiveInt
    largest_difference: NonNegativeFloat
    changed_predictions: NonNegativeInt
    latency: Timing


class Int8Record(Record):
    """A student after static quantisation to int8, measured in ONNX Runtime; `int8/NNNNN.json` of the run directory.

    Attributes:
        schema_version: Version of this record on disk.
        weights_sha256: SHA-256 of the student's weights in float32.
        scores: Metrics on the validation images.
        gap_points: Accuracy of the teacher in float32 minus that of the student in int8, percentage points.
        float_top1: Accuracy of the student in float32, 0 to 1.
        size_bytes: Size of the int8 ONNX file, bytes.
        latency: Time of one image on one CPU thread, int8.
        float_latency: Time of one image on one CPU thread, float32 in ONNX Runtime, measured side by side.
    """

    schema_version: Literal[1] = 1
    weights_sha256: str
    scores: Scores
    gap_points: float
    float_top1: Share
    size_bytes: PositiveInt
    latency: Timing
    float_latency: Timing


class ExportSource(Record):
    """Where an exported student comes from.

    Attributes:
        run: Name of the run directory.
        trial: Number of the trial.
        pick: The pick that the user named, such as "knee" or "17".
        spec: The candidate.
        seed: Seed of the trial.
        weights_sha256: SHA-256 of the file `student.safetensors`.
        data_source: Image source, as given in `data.source`.
        data_id: Digest of images and splits.
        content_id: Digest of images and labels, independent of the splits.
        split_settings: Settings of the splits (`data.manifest.SplitSettings`).
        recorded_top1: Validation accuracy in the trial's record, 0 to 1.
        teacher_top1: Validation accuracy of the run's teacher, 0 to 1.
    """

    run: str
    trial: NonNegativeInt
    pick: str
    spec: StudentSpec
    seed: NonNegativeInt
    weights_sha256: str
    data_source: str
    data_id: str
    content_id: str
    split_settings: FrozenArguments
    recorded_top1: Share
    teacher_top1: Share


class ExportManifest(Record):
    """What an export holds and how it was checked: `export.json`.

    Attributes:
        schema_version: Version of this record on disk.
        interface: What is needed to call the student.
        required_import: Python statement that registers the architecture with timm; None if timm has it itself.
        source: Where the student comes from.
        versions: Version of each package that took part, and `commit`, the commit of nas_distill if it is known.
        created_at: Time in UTC, ISO 8601.
        licence: Licence of the weights as the user gave it.
        batch_size: Images per batch in the check.
        tolerance: Largest accepted difference of a logit, for float formats.
        pytorch: Metrics of the trial's weights in PyTorch on the validation images.
        pytorch_latency: Time of one image on one CPU thread in PyTorch, with merged branches.
        formats: The exported files.
    """

    schema_version: Literal[1] = 1
    interface: StudentInterface
    required_import: str | None = None
    source: ExportSource
    versions: FrozenTexts
    created_at: str
    licence: str
    batch_size: PositiveInt
    tolerance: PositiveFloat
    pytorch: Scores
    pytorch_latency: Timing
    formats: Annotated[tuple[FormatReport, ...], Field(min_length=1)]

    def report(self, name: FormatName) -> FormatReport | None:
        """Return the report of one format; None if the export does not have it."""
        return next((one for one in self.formats if one.name == name), None)
