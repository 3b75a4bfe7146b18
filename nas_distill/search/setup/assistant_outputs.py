"""Stores the outputs of an assistant, a student of the run, on the views that its own students are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig
from nas_distill.data.splits import open_split
from nas_distill.knowledge.pool import ShardPool
from nas_distill.losses.registry import required_outputs
from nas_distill.models.teacher import load_teacher
from nas_distill.records import Recipe
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.knowledge import KnowledgeRequest, store_knowledge
from nas_distill.trial.context import teacher_reference

StoreOutputs = Callable[[int, Sequence[Recipe]], Mapping[str, str]]
"""Function that stores the outputs of the assistant with this trial number, for students with these recipes. Returns
the name of the knowledge folder by source (`records.task.source_name`)."""


def store_assistant_outputs(
    run: RunDirectory,
    data: DataConfig,
    request: KnowledgeRequest,
    *,
    assistant: int,
    recipes: Sequence[Recipe],
    progress: Progress,
    pool: ShardPool,
) -> dict[str, str]:
    """Store those of an assistant's outputs that the recipes need; outputs that are stored already are kept.

    Args:
        run: The run directory.
        data: Section `data` of the configuration.
        request: Outputs of the teacher that the search needs.
        assistant: Number of the trial whose student is the assistant.
        recipes: Recipes of the students that it teaches.
        progress: Receives events.
        pool: Processes that share the work when there is much of it.

    Returns:
        Name of the knowledge folder by source (`records.task.source_name`).

    Raises:
        TeacherError: The assistant cannot be loaded, or its outputs cannot be stored.
        NasDistillError: The run directory cannot be used, or workers died.
    """
    splits = open_split(data, run.path, "train"), open_split(data, run.path, "validation")
    manifest = splits[0].manifest
    network = load_teacher(
        teacher_reference(run, assistant), class_names=manifest.class_names, channels=manifest.channels
    )
    embeddings = not request.online and any(required_outputs(recipe).embedding for recipe in recipes)
    needed = replace(
        request,
        mixes=tuple({recipe.mix for recipe in recipes}),
        storage=request.storage.model_copy(update={"embeddings": embeddings}),
    )
    folders = store_knowledge(
        network, needed, assistant=assistant, run=run, splits=splits, progress=progress, pool=pool
    )
    del network
    torch.cuda.empty_cache()  # trials on the same GPU need the memory that the driver's allocator keeps
    return folders
