"""The model card of an export: `README.md` in the layout of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from nas_distill.analysis.confirm.students import ConfirmedStudent
from nas_distill.analysis.formatting import short_bytes, short_count, signed
from nas_distill.analysis.initial_weights import describe_initial_weights
from nas_distill.analysis.stats import Estimate, accuracy_half_width_points
from nas_distill.export.formats import NEEDS_ONNX
from nas_distill.export.snippets import ONNX_PREPROCESSING, timm_lines
from nas_distill.records import TeacherRecord, TrialRecord
from nas_distill.records.cost import Timing
from nas_distill.records.export import FILES, ExportManifest, FormatReport, Scores
from nas_distill.records.student import RANDOM

LARGE_LOSS_POINTS = 1.0
"""Loss of accuracy through quantisation that is reported as a warning, percentage points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a model card tells.

    Attributes:
        manifest: Manifest of the export.
        record: Record of the student's trial.
        teacher: Record of its teacher.
        confirmed: Results of `confirm` for the student; None if it was not confirmed.
    """

    manifest: ExportManifest
    record: TrialRecord
    teacher: TeacherRecord
    confirmed: ConfirmedStudent | None = None


def model_card(facts: CardFacts) -> str:
    """Return the text of the model card."""
    parts = [
        f"---\n{_metadata(facts).to_yaml()}\n---\n",
        f"# {_title(facts)}\n",
        "\n".join(_summary(facts)),
        "\n## Use\n",
        "\n".join(_use(facts.manifest)),
        "## Metrics\n",
        "\n".join(_metrics(facts)),
        "\n## Files\n",
        "\n".join(_files(facts.manifest)),
        "\n## Training\n",
        "\n".join(_training(facts)),
        "\n## Intended use and limits\n",
        "\n".join(_limits(facts)),
    ]
    return "\n".join(parts) + "\n"


def lost_points(manifest: ExportManifest, report: FormatReport) -> float:
    """Return how much accuracy a file loses against PyTorch, percentage points; negative for a gain."""
    return 100.0 * (manifest.pytorch.top1 - report.scores.top1)


def accuracy_text(scores: Scores) -> str:
    """Return an accuracy with its interval due to the sample of images: "98.61 ± 1.36 %"."""
    half = float(accuracy_half_width_points(np.array(scores.top1), scores.images))
    return f"{100 * scores.top1:.2f} ± {half:.2f} %"


def latency_text(latency: Timing) -> str:
    """Return a latency with its interquartile range: "1.23 ms (IQR 0.04)"."""
    return f"{latency.median_ms:.3g} ms (IQR {latency.iqr_ms:.2g})"


def _metadata(facts: CardFacts) -> ModelCardData:
    manifest = facts.manifest
    name, data = _title(facts), _data_name(manifest.source.data_source)
    # Only of the exported weights: `confirm` scores retrained ones.
    results = [
        EvalResult(
            task_type="image-classification", dataset_type=data, dataset_name=data, dataset_split="validation",
            metric_type="accuracy", metric_value=round(manifest.pytorch.top1, 4),
        )
    ]  # fmt: skip
    return ModelCardData(
        license=manifest.licence,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "knowledge-distillation", "nas-distill"],
        datasets=[data],
        metrics=["accuracy"],
        model_name=name,
        eval_results=results,
    )


def _title(facts: CardFacts) -> str:
    source = facts.manifest.source
    return f"{facts.manifest.interface.architecture} distilled in {source.run}, trial {source.trial}"


def _data_name(source: str) -> str:
    kind, colon, rest = source.partition(":")
    return Path(rest).name or "images" if colon and kind == "folder" else source.partition("/")[2] or source


def _summary(facts: CardFacts) -> Iterator[str]:
    one, cost, teacher = facts.manifest.interface, facts.record.cost, facts.teacher
    yield (
        f"An image classifier with {short_count(cost.num_params)} parameters for {len(one.class_names)} classes: "
        f"{', '.join(one.class_names[:20])}{' ...' if len(one.class_names) > 20 else ''}."
    )
    yield (
        f"It was found by a search for small students and distilled from {teacher.architecture} "
        f"({short_count(teacher.cost.num_params)} parameters), which is "
        f"{teacher.cost.num_params / cost.num_params:.3g} times as large."
    )


def _use(manifest: ExportManifest) -> Iterator[str]:
    one = manifest.interface
    grey = "grey" if one.channels == 1 else "RGB"
    yield (
        f"Every file takes the same input: normalised float32 [batch, {one.channels}, {one.image_size}, "
        f"{one.image_size}], what timm's evaluation transform returns. The batch size is free. The output is logits "
        f"[batch, {len(one.class_names)}].\n"
    )
    yield f"1. Convert the image to {grey} and rotate it as EXIF says."
    yield (
        f"2. Resize the shorter side to {one.image_size} / {one.resizing.crop_ratio:g} pixels "
        f"({one.resizing.interpolation}), then crop the centre."
    )
    yield "3. Divide by 255, subtract the mean, divide by the standard deviation:\n"
    yield f"   mean {_numbers(one.normalisation.mean)}, std {_numbers(one.normalisation.std)}\n"
    if manifest.report("timm") is not None:
        needs = f"timm and, because timm does not have this architecture, `{manifest.required_import}`"
        yield f"With {needs if manifest.required_import else 'timm alone'}, in this folder:\n"
        yield f"```python\n{timm_lines(manifest)}```\n"
    if manifest.report("onnx") is not None:
        yield "With onnxruntime, numpy and pillow; the graph's metadata hold the numbers above:\n"
        yield f"```python\n{ONNX_PREPROCESSING}```\n"


def _metrics(facts: CardFacts) -> Iterator[str]:
    manifest, found = facts.manifest, facts.record.metrics
    assert found is not None
    scores = manifest.pytorch
    yield f"On {scores.images} validation images, which the search used to choose the student:\n"
    yield "| metric | value |\n| -- | -- |"
    yield f"| top-1 | {accuracy_text(scores)} |"
    yield f"| gap to the teacher | {signed(found.gap_points)} points |"
    yield f"| negative log-likelihood | {found.nll_nats:.4f} nats |"
    yield from () if found.ece is None else (f"| expected calibration error | {found.ece:.4f} |",)
    yield f"| agreement with the teacher | {100 * found.agreement:.2f} % |"
    confirmed = facts.confirmed
    if confirmed is None:
        yield "\nOne seed. The student was not confirmed on the test images."
        return
    where = "folds of the training images" if confirmed.in_folds else "the test images, which the search never saw"
    yield f"\nRetrained with {confirmed.repetitions} seeds and scored on {where} (95 % intervals over seeds):\n"
    yield "| metric | value |\n| -- | -- |"
    yield from _confirmed_rows(confirmed)
    yield "\nThe files hold the weights of the search's own training, not those of a retraining."


def _confirmed_rows(confirmed: ConfirmedStudent) -> Iterator[str]:
    rows: tuple[tuple[str, Estimate | None, float, str, int], ...] = (
        ("top-1", confirmed.top1, 100.0, " %", 2),
        ("gap to the teacher", confirmed.gap_points, 1.0, " points", 2),
        ("negative log-likelihood", confirmed.nll_nats, 1.0, " nats", 4),
        ("expected calibration error", confirmed.ece, 1.0, "", 4),
        ("gain through distillation", confirmed.distillation_gain_points, 1.0, " points", 2),
    )
    for title, estimate, scale, unit, digits in rows:
        if estimate is not None:
            width = "" if estimate.half_width is None else f" ± {scale * estimate.half_width:.{digits}f}"
            yield f"| {title} | {scale * estimate.mean:.{digits}f}{width}{unit} |"


def _files(manifest: ExportManifest) -> Iterator[str]:
    yield (
        f"Each file was read again and compared with PyTorch on the validation images, in batches of 1 and "
        f"{manifest.batch_size}. Latency: one image, one CPU thread, on the exporting machine; PyTorch takes "
        f"{latency_text(manifest.pytorch_latency)}. Likelihood and calibration error differ a little from those above: "
        "there, each image is scored with a temperature that was fitted on others.\n"
    )
    yield "| file | size | top-1 | top-1, batch 1 | NLL, nats | ECE | largest logit difference | latency |"
    yield "| -- | --: | --: | --: | --: | --: | --: | --: |"
    for one in manifest.formats:
        yield (
            f"| {FILES[one.name]} | {short_bytes(one.size_bytes)} | {100 * one.scores.top1:.2f} % | "
            f"{100 * one.top1_one_by_one:.2f} % | {one.scores.nll_nats:.4f} | {one.scores.ece:.4f} | "
            f"{one.largest_difference:.2g} | {latency_text(one.latency)} |"
        )
    yield from (f"\n{note}" for note in notes(manifest))
    yield "\n`SHA256SUMS` lists the digests of all files, `export.json` holds these numbers and the origin."


def notes(manifest: ExportManifest) -> Iterator[str]:
    """Yield what a user must know about the files."""
    for one in manifest.formats:
        lost = lost_points(manifest, one)
        if lost > LARGE_LOSS_POINTS:
            yield (
                f"**{FILES[one.name]} loses {lost:.2f} points of accuracy.** Use the float file, or export another "
                "student."
            )
    yield from _int8_without_gain(manifest)
    onnx = [one for one in manifest.formats if one.name in NEEDS_ONNX]
    if onnx:
        exporter = next((one.exporter for one in onnx if one.exporter), None)
        yield f"ONNX: opset {onnx[0].opset}, written by torch's {exporter} exporter."
    if any(one.fused for one in manifest.formats):
        merged = ", ".join(FILES[one.name] for one in manifest.formats if one.fused)
        yield (
            f"The branches that this architecture needs for training only are merged in {merged}. The timm files keep "
            "them, so that timm can load them; `timm.utils.reparameterize_model(network)` merges them."
        )


def _int8_without_gain(manifest: ExportManifest) -> Iterator[str]:
    """Yield what an int8 file does not gain over the float file, which is common for very small networks."""
    whole, int8 = manifest.report("onnx"), manifest.report("onnx-int8")
    if whole is None or int8 is None:
        return
    if int8.size_bytes >= whole.size_bytes:
        yield f"{FILES['onnx-int8']} is not smaller than {FILES['onnx']}: its scales take more than its weights save."
    if int8.latency.median_ms >= whole.latency.median_ms:
        yield f"{FILES['onnx-int8']} is not faster than {FILES['onnx']} on this machine."


def _training(facts: CardFacts) -> Iterator[str]:
    record, recipe, source = facts.record, facts.record.recipe, facts.manifest.source
    losses = ", ".join(recipe.losses) or "none"
    start = record.spec.initial_weights or RANDOM
    yield f"- Teacher: {facts.teacher.architecture}, {100 * facts.teacher.top1:.2f} % top-1 on the same images."
    yield f"- Data: {_data_name(source.data_source)}, digest {source.data_id} (images, labels and splits)."
    yield (
        f"- Recipe: losses {losses}, label weight {recipe.label_weight:g}, {record.epochs} epochs, batch size "
        f"{recipe.batch_size}, learning rate {recipe.learning_rate:g}, optimiser {recipe.optimizer}, "
        f"seed {record.seed}."
    )
    yield f"- Initial weights: {describe_initial_weights(start)}."
    yield (
        f"- Cost: {record.cost.num_params:,} parameters, {short_count(record.cost.macs)} MACs, "
        f"{short_bytes(record.cost.size_bytes)} in float32."
    )
    versions = ", ".join(f"{name} {version}" for name, version in facts.manifest.versions.items())
    yield f"- Software: {versions}."


def _limits(facts: CardFacts) -> Iterator[str]:
    licence = facts.manifest.licence
    yield (
        "For images like those of the data above. The student knows only its classes and gives one of them to any "
        "image. Its probabilities are as reliable as the calibration error above says."
    )
    yield (
        "\nIts accuracy on images of another source is unknown: measure it with "
        "`nas_distill evaluate FOLDER --data folder:PATH`."
    )
    said = "not stated" if licence == "unknown" else licence
    yield (
        f"\nLicence of the weights: {said}. The licences of the data, the teacher and pretrained weights may apply too."
    )


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"
