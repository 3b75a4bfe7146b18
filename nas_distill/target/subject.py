"""`Subject`: a network whose latency is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nas_distill.models.costs.fusion import fused
from nas_distill.models.student import build_student
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Cost, StudentSpec
from nas_distill.records.network_shape import NetworkShape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A network whose latency is wanted; it can be sent to another process.

    Attributes:
        spec: Architecture and arguments. The weights are random, because they do not change the latency.
        shape: Input and output shape.
        cost: Cost that is known from the architecture.
        teacher_head: The teacher's classifier, for a student that uses it (SimKD).
    """

    spec: StudentSpec
    shape: NetworkShape
    cost: Cost
    teacher_head: TeacherHead | None = None

    def identity(self) -> dict[str, Any]:
        """Return what decides the latency, as JSON values."""
        # The costs are no part of the definition, but show that the code of an architecture has changed.
        return {
            "network": self.spec.network_id,
            "num_classes": self.shape.num_classes,
            "channels": self.shape.channels,
            "image_size": self.shape.image_size,
            "num_params": self.cost.num_params,
            "macs": self.cost.macs,
            "teacher_head": self.teacher_head is not None,
        }

    def build(self) -> nn.Module:
        """Return the network with merged branches, in eval mode on the CPU.

        Raises:
            SpaceError: The network cannot be built.
        """
        with torch.random.fork_rng(devices=[]):  # drawing these weights must not change the random state
            network = build_student(
                self.spec,
                num_classes=self.shape.num_classes,
                channels=self.shape.channels,
                image_size=self.shape.image_size,
                teacher_head=self.teacher_head,
            )
        return fused(network).eval().requires_grad_(False)


def teacher_subject(architecture: str, arguments: Mapping[str, Any], shape: NetworkShape, cost: Cost) -> Subject:
    """Return the subject of a teacher, for images of its own size."""
    return Subject(spec=StudentSpec(architecture=architecture, arguments=dict(arguments)), shape=shape, cost=cost)
