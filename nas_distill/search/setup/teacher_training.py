"""Trains a teacher from the sections of a configuration, for `nas_distill teacher`."""

from __future__ import annotations

from pathlib import Path

import torch

from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig, ExecutionConfig, TeacherConfig, ViewsConfig
from nas_distill.records import TeacherRecord
from nas_distill.train import teacher


def driver_device() -> torch.device:
    """Return the device of the driver process: the first GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_teacher(
    model: str,
    out: Path,
    settings: TeacherConfig,
    *,
    data: DataConfig,
    views: ViewsConfig,
    seed: int,
    execution: ExecutionConfig,
    progress: Progress,
    pretrained: bool = False,
) -> TeacherRecord:
    """Train a teacher by `settings.recipe`; see `train.teacher.train_teacher`.

    Args:
        model: timm name, or `local-dir:PATH` of a network to train further.
        out: Output folder; created if missing.
        settings: Section `teacher` of the configuration; its `model` is ignored.
        data: Section `data` of the configuration.
        views: Section `views` of the configuration.
        seed: Random seed.
        execution: How the training is executed (`resources.execution`).
        progress: Receives events.
        pretrained: Whether to start from timm's pretrained weights.
    """
    return teacher.train_teacher(
        model,
        out,
        arguments=settings.arguments,
        recipe=settings.recipe,
        data=data,
        views=views,
        seed=seed,
        device=driver_device(),
        execution=execution.without_probe(),
        progress=progress,
        checkpoint=settings.checkpoint,
        pretrained=pretrained,
        trust_pickle=settings.trust_pickle,
    )
