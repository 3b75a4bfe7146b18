"""The cost of a network, measured on the meta device before any training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nas_distill.model_outputs import OutputRequest
from nas_distill.models.costs.fusion import fused
from nas_distill.models.features import LOGITS_ONLY
from nas_distill.models.student import build_student
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Cost, StudentSpec


def measure_cost(
    spec: StudentSpec,
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    teacher_head: TeacherHead | None = None,
    request: OutputRequest = LOGITS_ONLY,
) -> Cost:
    """Return the cost of a candidate without allocating its weights.

    Args:
        spec: Specification of the candidate.
        num_classes: Number of classes.
        channels: Number of input channels.
        image_size: Input height and width, pixels.
        teacher_head: The teacher's classifier, for a student that uses it (SimKD); its cost and the projector's count.
        request: Outputs that losses compare; the candidate must provide them.

    Raises:
        SpaceError: The candidate cannot be built, cannot process such images, or lacks a requested output.
    """
    counter = FlopCounterMode(display=False)
    model = build_student(
        spec,
        num_classes=num_classes,
        channels=channels,
        image_size=image_size,
        device="meta",
        teacher_head=teacher_head,
        request=request,
        while_trying=_counting(counter),
    )
    deployed = fused(model)
    if deployed is model and teacher_head is None:
        return _cost(model, counter)  # `build_student` has passed an image through this network: that takes a while
    return measure_module_cost(deployed, channels=channels, image_size=image_size)


def measure_module_cost(model: nn.Module, *, channels: int, image_size: int) -> Cost:
    """Return the cost of a built network, after merging the branches that it has for training only.

    MACs are for one image and are half of the operations that `torch.utils.flop_counter` counts: matrix products,
    convolutions and attention, but no element-wise operations.

    Args:
        model: Network on any device. It is not changed.
        channels: Number of input channels.
        image_size: Input height and width, pixels.
    """
    training = model.training
    deployed = fused(model).eval()
    device = next(deployed.parameters()).device
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _counting(counter):
        deployed(torch.zeros(1, channels, image_size, image_size, device=device))
    model.train(training)
    return _cost(deployed, counter)


@contextmanager
def _counting(counter: FlopCounterMode) -> Iterator[None]:
    # Some versions of torch count 0 for fused attention on a CPU. The MATH backend has the same matrix products.
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield


def _cost(deployed: nn.Module, counter: FlopCounterMode) -> Cost:
    tensors = [*deployed.parameters(), *deployed.buffers()]
    return Cost(
        num_params=sum(parameter.numel() for parameter in deployed.parameters()),
        macs=counter.get_total_flops() // 2,
        size_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )
