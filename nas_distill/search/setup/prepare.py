"""Prepares data, teacher and knowledge before the first trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig, ExecutionConfig, TeacherConfig, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import open_split
from nas_distill.data.stratified import check_k_folds, k_folds
from nas_distill.knowledge.pool import ShardPool
from nas_distill.losses.registry import uses_teacher_head
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.models.teacher_input import teacher_input
from nas_distill.records import Recipe, TeacherRecord
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.knowledge import plan_knowledge, store_knowledge
from nas_distill.search.setup.teacher import prepare_teacher
from nas_distill.target.meter import TargetMeter
from nas_distill.trial.context import FOLD_SEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that exists before the first trial.

    Attributes:
        manifest: Description of the images.
        teacher: Record of the run's own copy of the teacher.
        knowledge: Name of the teacher's knowledge folder by source (`records.task.source_name`).
        head: The teacher's classifier, if students of the configuration's recipe use it.
        meter: Measures the latency of candidates; None for a search that does not use latencies.
    """

    manifest: DataManifest
    teacher: TeacherRecord
    knowledge: Mapping[str, str]
    head: TeacherHead | None
    meter: TargetMeter | None = None


def prepare(
    run: RunDirectory,
    *,
    data: DataConfig,
    views: ViewsConfig,
    teacher: TeacherConfig,
    recipe: Recipe,
    is_recipe_fixed: bool,
    folds: int,
    seed: int,
    execution: ExecutionConfig,
    progress: Progress,
    pool: ShardPool | None = None,
) -> Prepared:
    """Create data, teacher and knowledge in the run directory; what exists already is checked and kept.

    Args:
        run: The run directory, locked.
        data: Section `data` of the configuration.
        views: Section `views` of the configuration.
        teacher: Section `teacher` of the configuration.
        recipe: The configuration's recipe.
        is_recipe_fixed: Whether every trial uses `recipe`. If so, its release of classes is checked against the data.
        folds: Number of folds on which picks are cross-validated, 0 for none.
        seed: Random seed of a teacher that is trained here.
        execution: How a teacher's training is executed.
        progress: Receives events.
        pool: Processes that share the computation of the teacher's outputs when there are many.

    Raises:
        ConfigError: A class has fewer training images than `folds`, or every class has too few for its release.
        NasDistillError: The images, the teacher or the run directory cannot be used.
    """
    # In a prepared run, the teacher that the user named may be gone: the run has its own copy.
    needed = None if run.data_manifest.exists() else teacher_input(teacher)
    manifest = prepare_data(data, run.path, progress, teacher=needed)
    splits = open_split(data, run.path, "train"), open_split(data, run.path, "validation")
    if folds:
        check_k_folds(splits[0].labels, folds)
    # A recipe space's recipe is known when its trial runs; if it cannot release, that trial alone fails.
    if is_recipe_fixed and recipe.adaptive.release:
        check_holdouts(splits[0].labels, recipe.adaptive.release_holdout, folds)
    network, record = prepare_teacher(
        run, teacher, splits=splits, views=views, seed=seed, execution=execution, progress=progress
    )
    request = plan_knowledge(recipe, teacher, views)
    knowledge = store_knowledge(network, request, assistant=None, run=run, splits=splits, progress=progress, pool=pool)
    head = network.head() if uses_teacher_head(recipe) else None
    return Prepared(manifest=manifest, teacher=record, knowledge=knowledge, head=head)


def check_holdouts(labels: Tensor, share: float, folds: int, fix: str | None = None) -> None:
    """Check that a training on all images, and one on all images outside each fold, can release a class.

    Args:
        labels: Labels of the training split, int64, [N].
        share: Share of each class that is held out, 0 to 0.5.
        folds: Number of folds, 0 for none.
        fix: Fix that the error suggests. Default: one for a search.

    Raises:
        ConfigError: One of these trainings has too few images in every class.
    """
    from nas_distill.train.release import check_holdout  # imports SciPy, which takes half a second

    check_holdout(labels, share, fix)
    for scored in k_folds(labels, folds, FOLD_SEED) if folds else ():
        trained = torch.ones(len(labels), dtype=torch.bool).index_fill(0, scored, value=False)
        check_holdout(labels[trained], share, fix)
