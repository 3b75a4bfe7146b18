"""Latency of a network for one image on the CPU of this machine."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from nas_distill.models.costs.fusion import fused
from nas_distill.models.student import build_student
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import StudentSpec
from nas_distill.records.base import Record

MIN_RUN_TIME_S = 0.2


class Latency(Record):
    """Time of a network for one image in eval mode, in float32, on one CPU thread.

    Attributes:
        median_ms: Median over blocks of forward passes, milliseconds.
        iqr_ms: Interquartile range over the blocks, milliseconds. It shows how noisy the machine was.
    """

    median_ms: PositiveFloat
    iqr_ms: NonNegativeFloat


def measure_latency(
    spec: StudentSpec,
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    teacher_head: TeacherHead | None = None,
    min_run_time_s: float = MIN_RUN_TIME_S,
) -> Latency:
    """Return the latency of a candidate with random weights, measured by `torch.utils.benchmark` after a warm-up.

    Branches that a candidate has for training only are merged first.
    Other processes on the machine slow it down; the interquartile range shows by how much the time varied.

    Args:
        spec: Specification of the candidate.
        num_classes: Number of classes.
        channels: Number of input channels.
        image_size: Input height and width, pixels.
        teacher_head: The teacher's classifier, for a student that uses it (SimKD).
        min_run_time_s: Minimum duration of the measurement, seconds.

    Raises:
        SpaceError: The candidate cannot be built, or cannot process such images.
    """
    from torch.utils.benchmark import Timer  # imports setuptools, which no other part needs

    with torch.random.fork_rng(devices=[]):  # drawing these weights must not change the random state
        student = build_student(
            spec, num_classes=num_classes, channels=channels, image_size=image_size, teacher_head=teacher_head
        )
    network = fused(student).eval()
    image = torch.zeros(1, channels, image_size, image_size)
    with torch.inference_mode():
        timer = Timer("network(image)", globals={"network": network, "image": image}, num_threads=1)
        measured = timer.blocked_autorange(min_run_time=min_run_time_s)
    return Latency(median_ms=1e3 * measured.median, iqr_ms=1e3 * measured.iqr)
