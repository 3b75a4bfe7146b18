"""`nas_distill teacher`: hands the parts of a configuration to the training of a teacher."""

from __future__ import annotations

from pathlib import Path

import torch

from nas_distill.callbacks import Progress
from nas_distill.config import SearchConfig
from nas_distill.records import TeacherRecord
from nas_distill.train import teacher


def driver_device() -> torch.device:
    """Returns where the driver itself computes: the first GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_teacher(
    config: SearchConfig, model: str, out: Path, progress: Progress, *, pretrained: bool = False
) -> TeacherRecord:
    """Trains a teacher by `config.teacher.recipe` on `config.data`; see `train.teacher.train_teacher`."""
    return teacher.train_teacher(
        model,
        out,
        arguments=config.teacher.arguments,
        recipe=config.teacher.recipe,
        data=config.data,
        views=config.views,
        seed=config.seed,
        device=driver_device(),
        execution=config.resources.execution.without_probe(),
        progress=progress,
        checkpoint=config.teacher.checkpoint,
        pretrained=pretrained,
        trust_pickle=config.teacher.trust_pickle,
    )
