"""Build knowledge folders, see which files a build has written, and teachers that misbehave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from nas_distill.callbacks import NullProgress, Progress
from nas_distill.data.views.plan import ViewPlan
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardPool
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.teacher import Teacher
from tests.helpers import CPU, SmallRun
from tests.knowledge.synthetic import make_split, make_teacher

HALF_ULP = 2.0**-11
"""Relative rounding of float16."""

_OLD_NS = 10**18

PLAN = ViewPlan(count=4, crop_padding=1, flip=False, seed=0)


def build(
    small: SmallRun,
    root: Path,
    *,
    online: bool = False,
    progress: Progress | None = None,
    storage: OutputStorage | None = None,
    pool: ShardPool | None = None,
) -> Knowledge:
    """Store the outputs of the small run's teacher."""
    return build_knowledge(
        small.teacher,
        train=small.train,
        validation=small.validation,
        plan=small.plan,
        online=online,
        root=root,
        device=CPU,
        progress=progress or NullProgress(),
        storage=storage,
        pool=pool,
    )


def build_computed(
    root: Path,
    *,
    num_images: int = 300,
    num_classes: int = 5,
    network: nn.Module | None = None,
    teacher: Teacher | None = None,
    storage: OutputStorage | None = None,
    progress: Progress | None = None,
    plan: ViewPlan = PLAN,
) -> Knowledge:
    """Store the outputs of a linear (or given) teacher for computed images."""
    return build_knowledge(
        teacher or make_teacher(num_classes, network),
        train=make_split(num_images, num_classes),
        validation=make_split(50, num_classes),
        plan=plan,
        online=False,
        root=root,
        device=CPU,
        progress=progress or NullProgress(),
        storage=storage,
    )


def age_files(folder: Path) -> None:
    """Give every file below `folder` the same old modification time."""
    for path in _files(folder):
        os.utime(path, ns=(_OLD_NS, _OLD_NS))


def written_files(folder: Path) -> set[str]:
    """Return the files below `folder` that were written since `age_files`, relative to `folder`."""
    return {str(path.relative_to(folder)) for path in _files(folder) if path.stat().st_mtime_ns != _OLD_NS}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def other_bias(small: SmallRun, position: int, value: float) -> Iterator[None]:
    """Change one bias of the small run's teacher inside the context."""
    bias = small.teacher.network.get_parameter("fc.bias")
    before = bias.data.clone()
    bias.data[position] = value
    try:
        yield
    finally:
        bias.data.copy_(before)


class InterruptAt(NullProgress):
    """Raises KeyboardInterrupt once `images` images have been processed."""

    def __init__(self, images: int) -> None:
        self._images = images

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        if done >= self._images:
            raise KeyboardInterrupt


class Noisy(nn.Module):
    """A linear network that adds noise to its logits, even in eval mode."""

    def __init__(self, num_classes: int, noise: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(16, num_classes)
        self._noise = noise

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(images.flatten(1))
        return logits + self._noise * torch.randn_like(logits)


class LowMemory(nn.Module):
    """A linear network that runs out of memory with more than `max_images` images."""

    def __init__(self, num_classes: int, max_images: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(16, num_classes)
        self.max_images = max_images

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.max_images:
            raise torch.OutOfMemoryError("out of memory")
        logits: torch.Tensor = self.fc(images.flatten(1))
        return logits
