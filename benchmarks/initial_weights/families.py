"""Families that are compared: a teacher each, and random students that are cut out of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas_distill.records import StudentSpec

_SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
"""Widths of a student, as shares of the teacher's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One teacher and the students that are drawn from its dimensions.

    Attributes:
        teacher: Architecture of the teacher.
        draw: Function that draws the constructor arguments of a student.
        learning_rate: Peak learning rate of teacher and students.
    """

    teacher: StudentSpec
    draw: Callable[[random.Random], dict[str, Any]]
    learning_rate: float = 4e-3

    def students(self, count: int, seed: int) -> list[StudentSpec]:
        """Return different students that are smaller than the teacher; the first ones do not depend on `count`."""
        generator = random.Random(seed)
        found: list[StudentSpec] = []
        while len(found) < count:
            spec = StudentSpec(
                architecture=self.teacher.architecture,
                arguments={**self.teacher.keyword_arguments(), **self.draw(generator)},
            )
            if spec not in found and spec.arguments != self.teacher.arguments:
                found.append(spec)
        return found


def _resnet(widths: tuple[int, ...], depths: tuple[int, ...]) -> Callable[[random.Random], dict[str, Any]]:
    def draw(generator: random.Random) -> dict[str, Any]:
        stages = generator.choice((len(widths) - 1, len(widths), len(widths)))
        share = generator.choice(_SHARES)
        return {
            "widths": tuple(max(4, int(width * share)) for width in widths[:stages]),
            "depths": tuple(generator.randint(1, depth) for depth in depths[:stages]),
        }

    return draw


def _vit(width: int, heads: int, depth: int) -> Callable[[random.Random], dict[str, Any]]:
    def draw(generator: random.Random) -> dict[str, Any]:
        kept = generator.randint(1, heads)
        return {"embed_dim": width // heads * kept, "num_heads": kept, "depth": generator.randint(2, depth)}

    return draw


BASIC, BOTTLENECK, VIT = "basic", "bottleneck", "vit"


def families(image_size: int) -> dict[str, Family]:
    """Return the families for images of a size, by name.

    Args:
        image_size: Height and width of the images, pixels.
    """
    large = image_size > 16
    widths = (64, 128, 256) if large else (32, 64, 128)
    narrow = (16, 32, 64) if large else (12, 24, 48)
    patch = max(2, image_size // 8)
    stride = {"stem_stride": 2} if image_size >= 64 else {}
    basic = {"widths": widths, "depths": (2, 2, 2), **stride}
    bottleneck = {"widths": narrow, "depths": (2, 3, 2), "block": "bottleneck", **stride}
    transformer = {"patch_size": patch, "embed_dim": 128, "depth": 6, "num_heads": 4}
    return {
        BASIC: Family(
            teacher=StudentSpec(architecture="small_resnet", arguments=basic), draw=_resnet(widths, (2, 2, 2))
        ),
        BOTTLENECK: Family(
            teacher=StudentSpec(architecture="small_resnet", arguments=bottleneck), draw=_resnet(narrow, (2, 3, 2))
        ),
        VIT: Family(
            teacher=StudentSpec(architecture="vit_tiny_patch16_224", arguments=transformer),
            draw=_vit(128, 4, 6),
            learning_rate=1e-3,
        ),
    }
