"""What a network costs, known on the meta device before any training."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nas_distill.model_outputs import OutputRequest
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
        spec: The candidate.
        num_classes: Outputs.
        channels: Input channels.
        image_size: Input height and width, pixels.
        teacher_head: The teacher's classifier, for a student that uses it (SimKD); its cost and the projector's count.
        request: Signals that losses will compare, which the candidate must have.

    Raises:
        SpaceError: The candidate cannot be built, cannot take such images, or lacks a signal.
    """
    model = build_student(
        spec,
        num_classes=num_classes,
        channels=channels,
        image_size=image_size,
        device="meta",
        teacher_head=teacher_head,
        request=request,
    )
    return measure_module_cost(model, channels=channels, image_size=image_size)


def measure_module_cost(model: nn.Module, *, channels: int, image_size: int) -> Cost:
    """Return the cost of a built network.

    MACs are half of what `torch.utils.flop_counter` counts (matrix products, convolutions and attention; element-wise
    work is not counted), for one image.

    Args:
        model: On any device; it is left in eval mode as it was or put back into training mode.
        channels: Input channels.
        image_size: Input height and width, pixels.
    """
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device
    training = model.training
    model.eval()
    # Fused attention on a CPU counts as nothing in some versions of torch; its products are the same written out.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, channels, image_size, image_size, device=device))
    model.train(training)
    return Cost(
        num_params=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        size_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )
