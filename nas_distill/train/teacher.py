"""Train a teacher with the training loop of students, and measure a teacher."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from nas_distill.callbacks import Progress
from nas_distill.config import LOCAL_DIR, DataConfig, ExecutionConfig, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.views.plan import plan_views
from nas_distill.errors import ConfigError, RunError, SpaceError, TeacherError, TrialError
from nas_distill.models.costs.cost import measure_cost, measure_module_cost
from nas_distill.models.initial_weights import InitialWeights, check_initial_weights, copy_weights, load_initial_weights
from nas_distill.models.normalisation import network_normalisation
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir
from nas_distill.models.weights import weights_sha256
from nas_distill.records import EpochMetrics, Normalisation, Recipe, StudentSpec, TeacherRecord
from nas_distill.records.base import Record
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.evaluation import evaluate
from nas_distill.train.loop import Trainer
from nas_distill.train.training_data import TrainingData

METRICS = "metrics.json"
_WORK = ".work"
_CHECKPOINT_VERSION = 3
"""Version of the checkpoint contents. A checkpoint of another version is ignored."""


def train_teacher(
    model: str,
    out: Path,
    *,
    arguments: Mapping[str, Any],
    recipe: Recipe,
    data: DataConfig,
    views: ViewsConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
    execution: ExecutionConfig | None = None,
    checkpoint: str | None = None,
    pretrained: bool = False,
    trust_pickle: bool = False,
) -> TeacherRecord:
    """Train a teacher without distillation and write it to `out` as timm local-dir with `metrics.json`.

    `out/.work` holds the data cache and a checkpoint after every epoch until the end. After an interruption, the same
    call continues from there.

    Args:
        model: timm name, or `local-dir:PATH` for a network to train further.
        out: Folder to write to; created if missing.
        arguments: Constructor arguments, for a timm name.
        recipe: Recipe without teacher losses.
        data: Configuration of the images.
        views: Augmentation.
        seed: Seed of the initial weights, the image order and dropout.
        device: Device to train on.
        progress: Receives the progress after every epoch.
        execution: Execution settings. Default: plain float32, because a teacher must not depend on timings.
        checkpoint: Path of initial weights, for a timm name; a classifier with other classes is left out.
        pretrained: Whether to start from timm's pretrained weights.
        trust_pickle: Whether to open weights that are not a safetensors file; they can run any code.

    Raises:
        DataError: The images cannot be read.
        TeacherError: The model cannot be built, the initial weights do not fit, or the training failed.
        ConfigError: The recipe has teacher losses or an unknown optimiser.
        RunError: `out` already holds a teacher, or cannot be written.
    """
    check_initial_weights(model, arguments=arguments, checkpoint=checkpoint, pretrained=pretrained)
    if (out / METRICS).exists():
        raise RunError(
            f"it already holds a teacher; choose another --out, or pass --teacher {LOCAL_DIR}{out}",
            code="train.teacher_exists",
            field=str(out),
        )
    work = out / _WORK
    manifest = prepare_data(data, work, progress)
    start = load_initial_weights(
        model, arguments=arguments, num_classes=manifest.num_classes, image_size=manifest.image_size,
        checkpoint=checkpoint, pretrained=pretrained, trust_pickle=trust_pickle,
    )  # fmt: skip
    splits = open_split(data, work, "train"), open_split(data, work, "validation")
    return fit_teacher(
        start.architecture, out, arguments=start.arguments, recipe=recipe, splits=splits, views=views, seed=seed,
        device=device, progress=progress, execution=execution, start=start,
    )  # fmt: skip


def fit_teacher(
    model: str,
    out: Path,
    *,
    arguments: Mapping[str, Any],
    recipe: Recipe,
    splits: tuple[ImageSplit, ImageSplit],
    views: ViewsConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
    execution: ExecutionConfig | None = None,
    start: InitialWeights | None = None,
) -> TeacherRecord:
    """Train a teacher as `train_teacher` does, on splits that are already open.

    Args:
        model: timm name of the architecture.
        out: Folder to write to; created if missing.
        arguments: Constructor arguments.
        recipe: Recipe without teacher losses.
        splits: Training split and validation split.
        views: Augmentation.
        seed: Seed of the initial weights, the image order and dropout.
        device: Device to train on.
        progress: Receives the progress after every epoch.
        execution: Execution settings. Default: plain float32.
        start: Initial weights of the same architecture. Default: random weights.

    Raises:
        TeacherError: The model cannot be built, the initial weights do not fit, or the training failed.
        ConfigError: The recipe has teacher losses or an unknown optimiser.
        RunError: `out` cannot be written.
    """
    if recipe.losses:
        raise ConfigError(
            f"{', '.join(recipe.losses)} need a teacher, and this trains the teacher; leave it empty",
            code="train.teacher_with_losses",
            field="teacher.recipe.losses",
        )
    execution = execution or ExecutionConfig().without_probe()
    train, validation = splits
    manifest = train.manifest
    spec = StudentSpec(architecture=model, arguments=arguments)
    torch.manual_seed(seed)
    network = _build(spec, recipe, train)
    initial = None if start is None else start.network
    if initial is not None:
        copy_weights(network, initial)
    plan = plan_views(views, manifest, epochs=recipe.epochs, online=True, mix=recipe.mix)
    # Weights expect the normalisation that they were trained with; random weights fit the images' own statistics.
    normalisation = (
        Normalisation(mean=manifest.mean, std=manifest.std)
        if initial is None
        else network_normalisation(initial, manifest.channels)
    )
    trainer = Trainer(
        network,
        recipe=recipe,
        data=TrainingData(train=train, validation=validation, plan=plan, preprocess=Preprocess.of(normalisation)),
        targets=None,
        reference=None,
        seed=seed,
        device=device,
        execution=execution,
    )
    identity = _checkpoint_identity((spec, recipe, plan, execution, normalisation), manifest.data_id, seed, initial)
    curve = _train(trainer, recipe, identity, TrialFolder(out / _WORK), progress)
    teacher = _save(trainer.finish(), spec, manifest, normalisation, out).to(device)
    trained_on = manifest.data_id if start is None or _trained_only_on(start, manifest.data_id) else None
    record = measure_teacher(teacher, validation, trained_on_data_id=trained_on, curve=curve)
    write_record(out / METRICS, record)
    shutil.rmtree(out / _WORK, ignore_errors=True)
    progress.event(
        "teacher",
        f"{model}: {100 * record.top1:.2f} % on validation, {record.cost.num_params:,} parameters, in {out}",
    )
    return record


def measure_teacher(
    teacher: Teacher,
    validation: ImageSplit,
    *,
    trained_on_data_id: str | None,
    curve: tuple[EpochMetrics, ...] = (),
) -> TeacherRecord:
    """Measure a teacher on the validation split.

    Args:
        teacher: Teacher on its device.
        validation: Validation split.
        trained_on_data_id: Digest of the data that the teacher was trained on; None if unknown.
        curve: Learning curve of the teacher; empty if unknown.
    """
    device = next(teacher.parameters()).device
    metrics = evaluate(teacher, validation, device=device).metrics()
    return TeacherRecord(
        architecture=teacher.architecture,
        weights_sha256=teacher.weights_sha256(),
        class_names=validation.manifest.class_names,
        normalisation=teacher.preprocess.normalisation,
        cost=measure_module_cost(teacher.network, channels=teacher.channels, image_size=teacher.image_size),
        top1=metrics.top1,
        nll_nats=metrics.nll_nats,
        class_top1=metrics.class_top1,
        class_counts=metrics.class_counts,
        data_id=validation.manifest.data_id,
        trained_on_data_id=trained_on_data_id,
        curve=curve,
    )


def read_provenance(folder: Path, network_sha256: str) -> TeacherRecord | None:
    """Return the record in a local-dir folder if it belongs to weights with this digest, otherwise None."""
    path = folder / METRICS
    if not path.is_file():
        return None
    try:
        record = read_record(path, TeacherRecord)
    except RunError:
        return None  # a metrics.json of another program says nothing about the training data
    return record if record.weights_sha256 == network_sha256 else None


def _trained_only_on(start: InitialWeights, data_id: str) -> bool:
    """Return whether the weights are random, or known to be trained only on these data and splits."""
    if start.network is None:
        return True
    record = None if start.folder is None else read_provenance(start.folder, weights_sha256(start.network))
    return record is not None and record.trained_on_data_id == data_id


def _checkpoint_identity(records: Iterable[Record], data_id: str, seed: int, initial: torch.nn.Module | None) -> str:
    """Return a text that changes with everything that determines the training."""
    parts = [_CHECKPOINT_VERSION, *(record.digest() for record in records), data_id, seed]
    parts += [] if initial is None else [weights_sha256(initial)]
    return "-".join(str(part) for part in parts)


def _save(
    network: torch.nn.Module, spec: StudentSpec, manifest: DataManifest, normalisation: Normalisation, out: Path
) -> Teacher:
    """Write the trained network to `out`, and load it from there as a teacher."""
    save_local_dir(
        network,
        out,
        arguments=spec.keyword_arguments(),
        class_names=manifest.class_names,
        channels=manifest.channels,
        image_size=manifest.image_size,
        mean=normalisation.mean,
        std=normalisation.std,
        resizing=manifest.resizing,
    )
    return load_teacher(f"{LOCAL_DIR}{out}", class_names=manifest.class_names, channels=manifest.channels)


def _build(spec: StudentSpec, recipe: Recipe, train: ImageSplit) -> torch.nn.Module:
    manifest = train.manifest
    try:
        measure_cost(
            spec, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
        )  # passes one image through the network on the meta device
        return build_student(
            spec,
            num_classes=manifest.num_classes,
            channels=manifest.channels,
            image_size=manifest.image_size,
            drop_rate=recipe.dropout,
            drop_path_rate=recipe.drop_path,
        )
    except SpaceError as error:
        raise TeacherError(str(error), code="train.teacher_not_buildable", field="teacher.model") from error


def _train(
    trainer: Trainer, recipe: Recipe, identity: str, folder: TrialFolder, progress: Progress
) -> tuple[EpochMetrics, ...]:
    curve: list[EpochMetrics] = []
    if folder.checkpoint.exists():
        state = load_state(folder.checkpoint)
        if state["identity"] == identity:
            trainer.load(state)
            curve = list(folder.read_curve()[: trainer.epochs_done])
            progress.event("teacher", f"training continues after epoch {trainer.epochs_done}")
    while not trainer.is_finished():
        try:
            point = trainer.run_epoch()
        except TrialError as error:
            field = f"teacher.{error.field or 'recipe'}"
            raise TeacherError(error.args[0], code="train.teacher_training_failed", field=field) from error
        curve.append(point)
        folder.write_curve(curve)
        save_state(folder.checkpoint, {"identity": identity} | trainer.state())
        done = recipe.epochs if trainer.is_finished() else point.epoch
        progress.step("teacher", done, recipe.epochs, f"validation {100 * point.top1:.2f} %")
    return tuple(curve)
