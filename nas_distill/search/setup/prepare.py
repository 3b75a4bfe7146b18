"""What stands before the first trial: data, teacher and the teacher's answers, made or found made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, LOCAL_DIR, RUN, SearchConfig, TeacherConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.stratified import check_k_folds, k_folds
from nas_distill.data.views.plan import plan_views
from nas_distill.errors import ConfigError, RunError
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardPool
from nas_distill.losses.registry import resolve_losses, uses_teacher_head
from nas_distill.models.run_student import student_provenance
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import TeacherRecord
from nas_distill.records.task import source_name
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.teacher_training import driver_device
from nas_distill.search.spaces.recipes import stores_embeddings
from nas_distill.train.teacher import fit_teacher, measure_teacher, read_provenance
from nas_distill.trial.context import FOLD_SEED

DIGITS_TEACHER = TeacherConfig(model="small_resnet", arguments={"widths": (32, 64, 128), "depths": (2, 2, 2)})
"""Trained when `digits` is searched without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What stands before the first trial.

    Attributes:
        manifest: The images.
        teacher: The run's own copy, measured.
        knowledge: Folder names of its stored answers, by source (`workplace.source_name`).
        head: Its classifier, when students answer through it.
    """

    manifest: DataManifest
    teacher: TeacherRecord
    knowledge: Mapping[str, str]
    head: TeacherHead | None


def prepare(run: RunDirectory, config: SearchConfig, progress: Progress, pool: ShardPool | None = None) -> Prepared:
    """Makes data, teacher and knowledge, or finds them made.

    Args:
        run: Where.
        config: What.
        progress: Told of everything.
        pool: Shares the teacher's answers among processes when there is much to ask.

    Raises:
        ConfigError: A class has fewer training images than folds were asked for, or none has enough for its release.
        NasDistillError: The images, the teacher or the run directory cannot be used.
    """
    manifest = prepare_data(config.data, run.path, progress)
    splits = open_split(config.data, run.path, "train"), open_split(config.data, run.path, "validation")
    if config.picks.folds:
        check_k_folds(splits[0].labels, config.picks.folds)
    _check_release(config, splits[0].labels)
    teacher, record = _make_teacher(run, config, splits, progress)
    knowledge = ask_about_views(
        teacher, assistant=None, run=run, config=config, splits=splits, progress=progress, pool=pool
    )
    head = teacher.head() if uses_teacher_head(config.recipe) else None
    return Prepared(manifest=manifest, teacher=record, knowledge=knowledge, head=head)


def ask_about_views(
    teacher: Teacher,
    *,
    assistant: int | None,
    run: RunDirectory,
    config: SearchConfig,
    splits: tuple[ImageSplit, ImageSplit],
    progress: Progress,
    pool: ShardPool | None = None,
) -> dict[str, str]:
    """Stores what a network says of the views of every mixing that recipes may choose, or finds it stored.

    Args:
        teacher: The network.
        assistant: Number of the trial whose student it is; None for the teacher.
        run: Where.
        config: What.
        splits: Training and validation images.
        progress: Told of everything.
        pool: See `prepare`.

    Returns:
        Folder names by source (`workplace.source_name`).
    """
    folders = {}
    for mix in sorted({config.recipe.mix, *config.views.mixes}):
        plan = plan_views(
            config.views, splits[0].manifest, epochs=config.recipe.epochs, online=config.teacher.online, mix=mix
        )
        knowledge = build_knowledge(
            teacher,
            train=splits[0],
            validation=splits[1],
            plan=plan,
            online=config.teacher.online,
            root=run.knowledge,
            device=driver_device(),
            progress=progress,
            storage=OutputStorage(top_k=config.teacher.top_k, embeddings=stores_embeddings(config)),
            pool=pool,
        )
        folders[source_name(assistant, mix)] = knowledge.folder.name
    return folders


def check_served(config: SearchConfig) -> None:
    """Checks that the recipe's losses compare nothing that is not stored.

    Raises:
        ConfigError: They compare feature maps, or name something unknown.
    """
    for loss in resolve_losses(config.recipe):
        if loss.depth is not None and not config.teacher.online:
            raise ConfigError(
                f"recipe.losses.{loss.name}: it compares feature maps, which are not stored; set teacher.online=true "
                "(--online-teacher), or take a loss of logits or embeddings"
            )


def _check_release(config: SearchConfig, labels: Tensor) -> None:
    """Checks that every training by a fixed recipe, those on folds included, could release a class.

    A recipe of a searched space fails its own trial: only that is known to be by it.

    Args:
        config: The search's.
        labels: int64 [N], of the training split.

    Raises:
        ConfigError: None could.
    """
    adaptive = config.recipe.adaptive
    if config.space.recipe == FIXED_RECIPE and adaptive.release:
        check_holdouts(labels, adaptive.release_holdout, config.picks.folds)


def check_holdouts(labels: Tensor, share: float, folds: int, way_out: str | None = None) -> None:
    """Checks that a training on all images, and one on those outside of each fold, could release a class.

    Args:
        labels: int64 [N], of the training split.
        share: Of each class that is held out, 0 to 0.5.
        folds: How many; 0 for none.
        way_out: What is advised where one could not; by default what suits a search.

    Raises:
        ConfigError: One could not.
    """
    from nas_distill.train.release import check_holdout  # scipy: half a second

    check_holdout(labels, share, way_out)
    for scored in k_folds(labels, folds, FOLD_SEED) if folds else ():
        trained = torch.ones(len(labels), dtype=torch.bool).index_fill(0, scored, value=False)
        check_holdout(labels[trained], share, way_out)


def _make_teacher(
    run: RunDirectory, config: SearchConfig, splits: tuple[ImageSplit, ImageSplit], progress: Progress
) -> tuple[Teacher, TeacherRecord]:
    """Returns the run's own copy of the teacher, made when it is missing."""
    manifest = splits[0].manifest
    settings = config.teacher
    if not run.teacher_record.exists():
        if settings.model is None:
            assert DIGITS_TEACHER.model is not None
            progress.event(
                "teacher", f"no teacher given: training {DIGITS_TEACHER.model} on {config.data.source} first"
            )
            fit_teacher(
                DIGITS_TEACHER.model,
                run.teacher,
                arguments=DIGITS_TEACHER.arguments,
                recipe=settings.recipe,
                splits=splits,
                views=config.views,
                seed=config.seed,
                device=driver_device(),
                execution=config.resources.execution.without_probe(),
                progress=progress,
            )
        else:
            _adopt_teacher(run, settings, settings.model, splits[1], progress)
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=manifest.class_names, channels=manifest.channels)
    record = run.read_teacher()
    if record.weights_sha256 != teacher.weights_sha256():
        raise RunError(
            f"{run.teacher}: the weights are not those that metrics.json was measured on; restore them, or search in "
            "another --out"
        )
    return teacher, record


def _adopt_teacher(
    run: RunDirectory, settings: TeacherConfig, model: str, validation: ImageSplit, progress: Progress
) -> None:
    """Copies the user's teacher into the run and measures it on the run's validation split."""
    manifest = validation.manifest
    teacher = load_teacher(
        model,
        class_names=manifest.class_names,
        channels=manifest.channels,
        arguments=settings.arguments,
        checkpoint=settings.checkpoint,
        trust_pickle=settings.trust_pickle,
        image_size=settings.image_size,
    ).to(driver_device())
    folder = Path(model.removeprefix(LOCAL_DIR)) if model.startswith(LOCAL_DIR) else None
    provenance = None if folder is None else read_provenance(folder, teacher.weights_sha256())
    origin = student_provenance(model) if model.startswith(RUN) else provenance
    trained_on = None if origin is None else origin.trained_on_data_id
    record = measure_teacher(
        teacher,
        validation,
        trained_on_data_id=trained_on,
        curve=provenance.curve if provenance is not None else (),
    )
    if origin is not None:
        record = record.model_copy(update={"lineage": origin.lineage})
    save_local_dir(
        teacher.network,
        run.teacher,
        arguments=teacher.arguments,
        class_names=manifest.class_names,
        channels=teacher.channels,
        image_size=teacher.image_size,
        mean=teacher.preprocess.mean,
        std=teacher.preprocess.std,
    )
    write_record(run.teacher_record, record)
    progress.event(
        "teacher",
        f"{record.architecture}: {100 * record.top1:.2f} % on validation, {record.cost.num_params:,} parameters",
    )
    if trained_on is not None and trained_on != manifest.data_id:
        progress.event(
            "warning",
            "the teacher was trained on other data or splits: it may have seen these validation images, which "
            "flatters it",
        )
