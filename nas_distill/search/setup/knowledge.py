"""Stores what trials learn from: the outputs of the teacher, or of an assistant, on the views of the images."""

from __future__ import annotations

from dataclasses import dataclass

from nas_distill.callbacks import Progress
from nas_distill.config import TeacherConfig, ViewsConfig
from nas_distill.data.splits import ImageSplit
from nas_distill.data.views.plan import plan_views
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardPool
from nas_distill.models.teacher import Teacher
from nas_distill.records import Recipe
from nas_distill.records.recipe import Mix
from nas_distill.records.task import source_name
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.teacher_training import driver_device
from nas_distill.search.spaces.recipes import stores_embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeRequest:
    """Which outputs of a network trials need.

    Attributes:
        views: Section `views` of the configuration.
        epochs: Number of epochs of a full training.
        mixes: Image mixings of the trials' recipes; the outputs of each are stored apart.
        online: Whether trials run the network themselves, so that no outputs on views are stored.
        storage: Which part of each output is stored.
    """

    views: ViewsConfig
    epochs: int
    mixes: tuple[Mix, ...]
    online: bool
    storage: OutputStorage


def plan_knowledge(recipe: Recipe, teacher: TeacherConfig, views: ViewsConfig) -> KnowledgeRequest:
    """Return the request that covers every recipe of a search.

    Args:
        recipe: The configuration's recipe.
        teacher: Section `teacher` of the configuration.
        views: Section `views` of the configuration.

    Raises:
        ConfigError: The recipe names an unknown loss or parameter.
    """
    return KnowledgeRequest(
        views=views,
        epochs=recipe.epochs,
        mixes=tuple(sorted({recipe.mix, *views.mixes})),
        online=teacher.online,
        storage=OutputStorage(top_k=teacher.top_k, embeddings=stores_embeddings(recipe, teacher)),
    )


def store_knowledge(
    network: Teacher,
    request: KnowledgeRequest,
    *,
    assistant: int | None,
    run: RunDirectory,
    splits: tuple[ImageSplit, ImageSplit],
    progress: Progress,
    pool: ShardPool | None = None,
) -> dict[str, str]:
    """Store the requested outputs of a network in the run directory; outputs that are stored already are kept.

    Args:
        network: The teacher, or the student of an assistant's trial.
        request: Outputs to store.
        assistant: Trial number of the assistant; None for the teacher.
        run: The run directory.
        splits: Training and validation images.
        progress: Receives events.
        pool: Processes that share the work when there is much of it.

    Returns:
        Name of the knowledge folder by source (`records.task.source_name`), one source per mixing.

    Raises:
        TeacherError: The network returns NaN or infinite values, or lacks an embedding that is to be stored.
        RunError: The disk is full, or the file system fails.
    """
    folders = {}
    for mix in sorted(request.mixes):
        plan = plan_views(request.views, splits[0].manifest, epochs=request.epochs, online=request.online, mix=mix)
        knowledge = build_knowledge(
            network,
            train=splits[0],
            validation=splits[1],
            plan=plan,
            online=request.online,
            root=run.knowledge,
            device=driver_device(),
            progress=progress,
            storage=request.storage,
            pool=pool,
        )
        folders[source_name(assistant, mix)] = knowledge.folder.name
    return folders
