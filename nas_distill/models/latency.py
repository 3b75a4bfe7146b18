"""How long a network takes for one image on this machine's CPU."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch.utils.benchmark import Timer

from nas_distill.models.student import build_student
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import StudentSpec
from nas_distill.records.base import Record

MIN_RUN_TIME_S = 0.2


class Latency(Record):
    """A network's time for one image, in eval mode, float32, on one thread of the CPU.

    Attributes:
        median_ms: Median over blocks of forward passes, milliseconds.
        iqr_ms: Their interquartile range, milliseconds: how noisy the machine was.
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
    """Return how long a candidate with fresh weights takes, by `torch.utils.benchmark` (warmed up, median of blocks).

    What else runs on the machine at the time makes it slower; the interquartile range tells by how much it varied.

    Args:
        spec: The candidate.
        num_classes: Outputs.
        channels: Input channels.
        image_size: Input height and width, pixels.
        teacher_head: The teacher's classifier, when the student answers through it.
        min_run_time_s: Seconds to measure for, at least.

    Raises:
        SpaceError: The candidate cannot be built, or cannot take such images.
    """
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are nobody's
        network = build_student(
            spec, num_classes=num_classes, channels=channels, image_size=image_size, teacher_head=teacher_head
        ).eval()
    image = torch.zeros(1, channels, image_size, image_size)
    with torch.inference_mode():
        timer = Timer("network(image)", globals={"network": network, "image": image}, num_threads=1)
        measured = timer.blocked_autorange(min_run_time=min_run_time_s)
    return Latency(median_ms=1e3 * measured.median, iqr_ms=1e3 * measured.iqr)
