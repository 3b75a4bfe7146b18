"""Building and damaging answers."""

from __future__ import annotations

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
    """Stores the answers of the small run's teacher."""
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
    """Stores the answers of a linear (or given) teacher to computed images."""
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


def times(folder: Path) -> dict[str, int]:
    """Returns when each file below `folder` was last written, nanoseconds."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@contextmanager
def other_bias(small: SmallRun, position: int, value: float) -> Iterator[None]:
    """Gives the small run's teacher another bias for a while."""
    bias = small.teacher.network.get_parameter("fc.bias")
    kept = bias.data.clone()
    bias.data[position] = value
    try:
        yield
    finally:
        bias.data.copy_(kept)


class Cut(NullProgress):
    """A watcher that interrupts the build once `images` are answered."""

    def __init__(self, images: int) -> None:
        self._images = images

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        if done >= self._images:
            raise KeyboardInterrupt


class Noisy(nn.Module):
    """A linear network whose answers carry noise, eval mode or not."""

    def __init__(self, num_classes: int, noise: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(16, num_classes)
        self._noise = noise

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(images.flatten(1))
        return logits + self._noise * torch.randn_like(logits)


class Cramped(nn.Module):
    """A linear network that has no memory for more than `most` images."""

    def __init__(self, num_classes: int, most: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(16, num_classes)
        self.most = most

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        logits: torch.Tensor = self.fc(images.flatten(1))
        return logits
