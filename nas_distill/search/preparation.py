"""What stands before the first trial: data, teacher and the teacher's answers, made or found made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.config import LOCAL_DIR, SearchConfig, TeacherConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.views import plan_views
from nas_distill.errors import RunError
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.layout import AnswerStorage
from nas_distill.knowledge.pool import SlabPool
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir
from nas_distill.progress import Progress
from nas_distill.records import TeacherRecord
from nas_distill.search.teacher_job import driver_device
from nas_distill.store import RunDirectory, write_record
from nas_distill.train.teacher import fit_teacher, measure_teacher, read_provenance

DIGITS_TEACHER = TeacherConfig(model="small_resnet", arguments={"widths": (32, 64, 128), "depths": (2, 2, 2)})
"""Trained when `digits` is searched without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What stands before the first trial.

    Attributes:
        manifest: The images.
        teacher: The run's own copy, measured.
        knowledge_id: Folder name of its stored answers.
    """

    manifest: DataManifest
    teacher: TeacherRecord
    knowledge_id: str


def prepare(run: RunDirectory, config: SearchConfig, progress: Progress, pool: SlabPool | None = None) -> Prepared:
    """Makes data, teacher and knowledge, or finds them made.

    Args:
        run: Where.
        config: What.
        progress: Told of everything.
        pool: Shares the teacher's answers among processes when there is much to ask.
    """
    manifest = prepare_data(config.data, run.path, progress)
    splits = open_split(config.data, run.path, "train"), open_split(config.data, run.path, "validation")
    teacher, record = _make_teacher(run, config, splits, progress)
    knowledge = build_knowledge(
        teacher,
        train=splits[0],
        validation=splits[1],
        plan=plan_views(config.views, manifest, epochs=config.recipe.epochs, online=config.teacher.online),
        online=config.teacher.online,
        root=run.knowledge,
        device=driver_device(),
        progress=progress,
        storage=AnswerStorage(top_k=config.teacher.top_k, embeddings=config.teacher.embeddings),
        pool=pool,
    )
    return Prepared(manifest=manifest, teacher=record, knowledge_id=knowledge.folder.name)


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
    provenance = read_provenance(Path(model.removeprefix(LOCAL_DIR)), teacher) if model.startswith(LOCAL_DIR) else None
    trained_on = provenance.trained_on_data_id if provenance is not None else None
    record = measure_teacher(
        teacher,
        validation,
        trained_on_data_id=trained_on,
        curve=provenance.curve if provenance is not None else (),
    )
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
