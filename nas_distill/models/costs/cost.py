"""The cost of a network, measured on the meta device before any training."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nas_distill.model_outputs import OutputRequest
from nas_distill.models.costs.fusion import fused
from nas_distill.models.costs.memory import ActivationCounter
from nas_distill.models.features import LOGITS_ONLY
from nas_distill.models.student import build_student
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Cost, StudentSpec

_FLOAT_BYTES = 4


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
    counting = _Counting()
    model = build_student(
        spec,
        num_classes=num_classes,
        channels=channels,
        image_size=image_size,
        device="meta",
        teacher_head=teacher_head,
        request=request,
        while_trying=counting,
    )
    deployed = fused(model)
    if deployed is model and teacher_head is None:
        # `build_student` has passed an image through this network: that takes a while.
        return _cost(model, counting, channels * image_size**2)
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
    image = torch.zeros(1, channels, image_size, image_size, device=device)
    counting = _Counting()
    with torch.no_grad(), counting:
        deployed(image)
    model.train(training)
    return _cost(deployed, counting, channels * image_size**2)


class _Counting(ExitStack):
    """Context in which one image is passed through a network."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = FlopCounterMode(display=False)
        self.activations = ActivationCounter()

    def __enter__(self) -> Self:
        # Some versions of torch count 0 for fused attention on a CPU. The MATH backend has the same matrix products.
        for one in (sdpa_kernel(SDPBackend.MATH), self.operations, self.activations):
            self.enter_context(one)
        return super().__enter__()


def _cost(deployed: nn.Module, counting: _Counting, input_values: int) -> Cost:
    stored = {name: _bytes(one) for name, one in (*deployed.named_parameters(), *deployed.named_buffers())}
    quantised = {
        f"{name}.weight".lstrip("."): module.weight.numel() + module.weight.shape[0] * _FLOAT_BYTES
        for name, module in deployed.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    halved = sum(
        _bytes(one) // (2 if one.is_floating_point() else 1) for one in (*deployed.parameters(), *deployed.buffers())
    )
    return Cost(
        num_params=sum(parameter.numel() for parameter in deployed.parameters()),
        macs=counting.operations.get_total_flops() // 2,
        size_bytes=sum(stored.values()),
        size_fp16_bytes=halved,
        size_int8_bytes=sum((stored | {name: size for name, size in quantised.items() if name in stored}).values()),
        peak_memory_bytes=sum(stored.values()) + counting.activations.peak_bytes + input_values * _FLOAT_BYTES,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
