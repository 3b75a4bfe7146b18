"""`evaluate_export`: score the files of an export on labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.analysis.stats import accuracy_half_width_points, paired_difference_half_width
from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig
from nas_distill.data.manifest import SplitName, SplitSettings
from nas_distill.data.parallel_decode import ParallelDecoder
from nas_distill.data.partition import partition
from nas_distill.data.sources import ImageSource, open_source
from nas_distill.errors import DataError
from nas_distill.inference.classifier import Classifier
from nas_distill.inference.exported import choose_format, open_export, read_manifest
from nas_distill.models.teacher import load_teacher
from nas_distill.records.base import Record, Share
from nas_distill.records.export import ExportManifest, FormatName, Scores
from nas_distill.train.evaluation import batch_size
from nas_distill.train.metrics import MetricSums, gap_points, metric_sums

Split = Literal["train", "validation", "test", "all"]


class FormatScores(Record):
    """The scores of one file.

    Attributes:
        name: Format of the file.
        scores: Metrics.
        top1_half_width_points: Half the 95 % interval of the accuracy due to the sample of images, percentage points.
        gap_points: 100 (teacher top-1 - top-1), percentage points; None without a teacher.
        gap_half_width_points: Half its 95 % interval, at most, percentage points.
        agreement: Share of images with the teacher's predicted class; None without a teacher.
    """

    name: FormatName
    scores: Scores
    top1_half_width_points: float
    gap_points: float | None = None
    gap_half_width_points: float | None = None
    agreement: Share | None = None


class Evaluation(Record):
    """The scores of an export.

    Attributes:
        data: Image source.
        split: Split of the images.
        teacher: Metrics of the teacher on the same images; None without a teacher.
        formats: Scores of each file.
        notes: What limits the scores, such as images that the student was trained on.
    """

    data: str
    split: Split
    teacher: Scores | None = None
    formats: tuple[FormatScores, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to score, and on which images.

    Attributes:
        formats: Names of formats; empty for all of the export.
        data: Image source; None for the one that the student was trained on.
        data_root: Folder of timm's data sets.
        split: Split; None for validation on the run's own images, and all images of other data.
        teacher: Teacher to compare with: `local-dir:PATH` or `run:RUN/TRIAL`.
    """

    formats: tuple[str, ...] = ()
    data: str | None = None
    data_root: str | None = None
    split: Split | None = None
    teacher: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Images:
    """The images to score on: their positions in the source, and labels in the student's order."""

    source: ImageSource
    indices: NDArray[np.int64]
    labels: Tensor


def evaluate_export(folder: Path, request: EvaluationRequest, progress: Progress) -> Evaluation:
    """Score files of an export on labelled images, decoded as in training.

    Args:
        folder: Folder of the export.
        request: What to score, and on which images.
        progress: Receives the number of decoded images.

    Raises:
        ExportError: The folder is not an export, or a file is damaged.
        ConfigError: The export lacks a format.
        DataError: The images cannot be read, or have a class that the student does not know.
        TeacherError: The teacher cannot be loaded or has other classes.
    """
    manifest = read_manifest(folder)
    present = tuple(one.name for one in manifest.formats)
    names = tuple(choose_format(manifest, name, folder) for name in request.formats) or present
    classifiers = {name: open_export(folder, name, manifest=manifest) for name in names}
    data = DataConfig(source=request.data or manifest.source.data_source, root=request.data_root)
    source = open_source(data)
    is_own = source.content_id == manifest.source.content_id
    split = request.split or ("validation" if is_own else "all")
    images = _select(source, split, _settings(manifest, data, is_own=is_own), manifest.interface.class_names)
    sums, teacher = _measure(images, classifiers, request.teacher, progress)
    reference = None if teacher is None else _scores(teacher)
    return Evaluation(
        data=data.source,
        split=split,
        teacher=reference,
        formats=tuple(_format_scores(name, found, reference) for name, found in sums.items()),
        notes=_notes(split, is_own=is_own),
    )


def _settings(manifest: ExportManifest, data: DataConfig, *, is_own: bool) -> SplitSettings:
    """Return the settings of the splits: those of the run for its own images, so that the splits are the same."""
    own = manifest.source.model_dump(mode="json")["split_settings"]
    return SplitSettings(**own) if is_own else SplitSettings.from_config(data)


def _select(source: ImageSource, split: Split, settings: SplitSettings, class_names: Sequence[str]) -> _Images:
    """Return the images of a split.

    Raises:
        DataError: A class is unknown to the student, or the split cannot be formed.
    """
    unknown = [name for name in source.class_names if name not in class_names]
    if unknown:
        raise DataError(
            f"the student does not know the class '{unknown[0]}'; it knows {', '.join(class_names[:20])}; rename the "
            "folder, or remove it",
            code="export.unknown_class",
            field="--data",
        )
    order = np.array([class_names.index(name) for name in source.class_names], dtype=np.int64)
    if split == "all":
        indices = np.arange(len(source.labels), dtype=np.int64)
    else:
        name: SplitName = split
        indices = partition(source.labels, source.native_splits, source.class_names, settings)[name].indices
    return _Images(source=source, indices=indices, labels=torch.from_numpy(order[source.labels[indices]]))


def _measure(
    images: _Images, classifiers: dict[FormatName, Classifier], teacher_name: str | None, progress: Progress
) -> tuple[dict[FormatName, MetricSums], MetricSums | None]:
    """Return the sums of each file, and of the teacher, over all images."""
    one = next(iter(classifiers.values()))
    teacher = None
    if teacher_name is not None:
        teacher = load_teacher(teacher_name, class_names=one.class_names, channels=one.interface.channels)
    sums: dict[FormatName, MetricSums] = {}
    teacher_sums: MetricSums | None = None
    done = 0
    for pixels in _batches(images, one, progress):
        labels = images.labels[done : done + len(pixels)]
        done += len(pixels)
        reference = None if teacher is None else teacher(pixels)
        for name, classifier in classifiers.items():
            found = metric_sums(classifier.logits(pixels), labels, reference)
            sums[name] = found if name not in sums else sums[name] + found
        if reference is not None:
            found = metric_sums(reference, labels)
            teacher_sums = found if teacher_sums is None else teacher_sums + found
    return sums, teacher_sums


def _batches(images: _Images, classifier: Classifier, progress: Progress) -> Iterator[Tensor]:
    """Yield the decoded images in batches, uint8 [B, C, H, W]."""
    decoder = ParallelDecoder(source=images.source, progress=progress)
    decoded = decoder.decode(images.indices, classifier.pixel_format, "scoring images")
    size = batch_size(classifier.interface.image_size)
    while batch := list(islice(decoded, size)):
        yield torch.from_numpy(np.stack(batch))


def _scores(sums: MetricSums) -> Scores:
    found = sums.metrics()
    return Scores(images=int(sums.counts.sum()), top1=found.top1, nll_nats=found.nll_nats, ece=found.ece)


def _format_scores(name: FormatName, sums: MetricSums, teacher: Scores | None) -> FormatScores:
    scores = _scores(sums)
    half = float(accuracy_half_width_points(np.array(scores.top1), scores.images))
    if teacher is None:
        return FormatScores(name=name, scores=scores, top1_half_width_points=half)
    agreement = sums.comparison().agreement
    gap = teacher.top1 - scores.top1
    return FormatScores(
        name=name,
        scores=scores,
        top1_half_width_points=half,
        gap_points=gap_points(teacher.top1, scores.top1),
        gap_half_width_points=100.0 * paired_difference_half_width(gap, 1.0 - agreement, scores.images),
        agreement=agreement,
    )


def _notes(split: Split, *, is_own: bool) -> tuple[str, ...]:
    if is_own and split in {"train", "all"}:
        return ("The student was trained on some of these images, so its accuracy here is too high.",)
    if is_own and split == "validation":
        return ("The search chose the student and calibrated it on these images. Score it on --split test too.",)
    return ()
