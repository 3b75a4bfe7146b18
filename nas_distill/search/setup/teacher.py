"""Creates the run's own copy of the teacher."""

from __future__ import annotations

from pathlib import Path

from nas_distill.callbacks import Progress
from nas_distill.config import LOCAL_DIR, RUN, ExecutionConfig, TeacherConfig, ViewsConfig
from nas_distill.data.splits import ImageSplit
from nas_distill.errors import RunError
from nas_distill.models.run_student import student_provenance
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir
from nas_distill.records import TeacherRecord
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.teacher_size import warn_about_size
from nas_distill.search.setup.teacher_training import driver_device
from nas_distill.train.teacher import fit_teacher, measure_teacher, read_provenance

DIGITS_TEACHER = TeacherConfig(model="small_resnet", arguments={"widths": (32, 64, 128), "depths": (2, 2, 2)})
"""Teacher that is trained first when `digits` is searched without a teacher."""


def prepare_teacher(
    run: RunDirectory,
    settings: TeacherConfig,
    *,
    splits: tuple[ImageSplit, ImageSplit],
    views: ViewsConfig,
    seed: int,
    execution: ExecutionConfig,
    progress: Progress,
) -> tuple[Teacher, TeacherRecord]:
    """Return the run's own copy of the teacher and its record; create them if they are missing.

    Args:
        run: The run directory.
        settings: Section `teacher` of the configuration.
        splits: Training and validation images.
        views: Section `views` of the configuration, for training a teacher.
        seed: Random seed, for training a teacher.
        execution: How a teacher's training is executed.
        progress: Receives events.

    Raises:
        TeacherError: The user's teacher cannot be loaded, or does not match the images.
        RunError: The weights in the run directory, or their normalisation, differ from those that were measured.
    """
    manifest = splits[0].manifest
    if not run.teacher_record.exists():
        if settings.model is None:
            _train_digits_teacher(
                run, settings, splits=splits, views=views, seed=seed, execution=execution, progress=progress
            )
        else:
            _import_teacher(run, settings, settings.model, splits[1], progress)
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=manifest.class_names, channels=manifest.channels)
    record = run.read_teacher()
    found = (teacher.weights_sha256(), teacher.preprocess.normalisation)
    if found != (record.weights_sha256, record.normalisation):
        raise RunError(
            "the weights or their normalisation differ from those that metrics.json was measured with; restore them, "
            "or search with another --out",
            code="search.teacher_changed",
            field=str(run.teacher),
        )
    return teacher, record


def _train_digits_teacher(
    run: RunDirectory,
    settings: TeacherConfig,
    *,
    splits: tuple[ImageSplit, ImageSplit],
    views: ViewsConfig,
    seed: int,
    execution: ExecutionConfig,
    progress: Progress,
) -> None:
    assert DIGITS_TEACHER.model is not None
    source = splits[0].manifest.source
    progress.event("teacher", f"no teacher given: training {DIGITS_TEACHER.model} on {source} first")
    fit_teacher(
        DIGITS_TEACHER.model,
        run.teacher,
        arguments=DIGITS_TEACHER.arguments,
        recipe=settings.recipe,
        splits=splits,
        views=views,
        seed=seed,
        device=driver_device(),
        execution=execution.without_probe(),
        progress=progress,
    )


def _import_teacher(
    run: RunDirectory, settings: TeacherConfig, model: str, validation: ImageSplit, progress: Progress
) -> None:
    """Copy the user's teacher into the run directory and measure it on the run's validation split."""
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
    earlier = None if folder is None else read_provenance(folder, teacher.weights_sha256())
    origin = student_provenance(model) if model.startswith(RUN) else earlier
    trained_on = None if origin is None else origin.trained_on_data_id
    record = measure_teacher(
        teacher,
        validation,
        trained_on_data_id=trained_on,
        curve=earlier.curve if earlier is not None else (),
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
        resizing=manifest.resizing,
    )
    write_record(run.teacher_record, record)
    if settings.image_size is None:  # a given size is meant
        warn_about_size(teacher, validation, top1=record.top1, progress=progress)
    progress.event(
        "teacher",
        f"{record.architecture}: {100 * record.top1:.2f} % on validation, {record.cost.num_params:,} parameters",
    )
    if trained_on is not None and trained_on != manifest.data_id:
        progress.event(
            "warning",
            "the teacher was trained on other data or splits: it may have seen these validation images, which would "
            "overstate its accuracy",
        )
