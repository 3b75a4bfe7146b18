"""Train students and keep their logits, so that ways to calibrate them can be compared without another training."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat
from torch import Tensor

from benchmarks.common.tasks import Task, TaskResult
from benchmarks.common.trainings import SharedInputs, load_inputs, train_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.records.base import Share
from nas_distill.train.evaluator import logits_function
from nas_distill.train.release import holdout

_BATCH = 512
Rows = tuple[tuple[float, ...], ...]


class LogitTask(Task):
    """One training whose logits are kept.

    Attributes:
        held_out: Share of the training images of each class that are held out for calibration, 0 to 0.5.
    """

    held_out: Share = 0.0


class LogitResult(TaskResult):
    """Logits of a trained student.

    Attributes:
        validation: Logits of the validation images [N, C].
        test: Logits of the test images [M, C].
        held_out: Logits of the held-out training images [H, C]; empty if none are held out.
        train: Logits of as many training images as there are validation images [N, C], without augmentation.
        seconds: Wall time of all epochs.
    """

    validation: Rows
    test: Rows
    held_out: Rows
    train: Rows
    seconds: NonNegativeFloat

    def summary(self) -> str:
        """Return the wall time."""
        return f"{self.seconds:.0f} s"


def held_out_positions(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return positions to train on and positions to hold out; the same for all trainings."""
    return holdout(labels, share, seed=0)


def train_logits(task: LogitTask, inputs: SharedInputs) -> LogitResult:
    """Train one student in this process and return its logits."""
    loaded = load_inputs(inputs)
    material = loaded.material
    data = material.training_data(task.plan)
    kept, held_out = held_out_positions(material.train.labels, task.held_out)
    if task.held_out:
        data = replace(data, train_indices=kept)
    trainer, seconds = train_data(material.network(task.student, task.seed), data, task, inputs)
    network = logits_function(trainer.finish(), material.preprocess, torch.contiguous_format)

    def rows(split: ImageSplit, positions: Tensor | None = None) -> Rows:
        order = torch.arange(split.num_images) if positions is None else positions
        with torch.inference_mode():
            batches = split.batches(order, _BATCH, device=loaded.device)
            found = [network(batch.images).float().cpu().numpy() for batch in batches]
        return tuple(tuple(map(float, row)) for row in _rounded(np.concatenate(found))) if found else ()

    return LogitResult(
        validation=rows(material.validation),
        test=rows(test_split(inputs)),
        held_out=rows(material.train, held_out) if task.held_out else (),
        train=rows(material.train, kept[: material.validation.num_images]),
        seconds=seconds,
    )


@cache
def test_split(inputs: SharedInputs) -> ImageSplit:
    """Open the test images, once per process."""
    return open_split(inputs.data, inputs.folder, "test")


def _rounded(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return logits with six digits after the point, so that logs stay small."""
    return logits.astype(np.float64).round(6)
