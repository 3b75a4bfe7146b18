"""Parameters, MACs and bytes against manual counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost, measure_module_cost
from nas_distill.models.student import build_student
from nas_distill.records import Cost, StudentSpec


class Attention(nn.Module):
    """Attention over the rows of an image of 64 x 64, with twelve heads of 64, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        heads = (x * self.scale).expand(-1, 12, -1, -1)
        return scaled_dot_product_attention(heads, heads, heads)


def _plain(cost: Cost) -> Cost:
    """Return a cost without sizes in other precisions and memory, which test_memory covers."""
    return Cost(num_params=cost.num_params, macs=cost.macs, size_bytes=cost.size_bytes)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_convolution(device: str) -> None:
    model = nn.Conv2d(3, 8, 5, stride=2, padding=2, device=device)
    # 8 filters of 3 x 5 x 5 at 5 x 5 places (9 pixels, stride 2); biases are not multiplied.
    assert _plain(measure_module_cost(model, channels=3, image_size=9)) == Cost(
        num_params=8 * 3 * 25 + 8, macs=8 * 3 * 25 * 25, size_bytes=4 * (8 * 3 * 25 + 8)
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_grouped_convolution(device: str) -> None:
    model = nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False, device=device)
    assert _plain(measure_module_cost(model, channels=4, image_size=6)) == Cost(
        num_params=8 * 9, macs=8 * 9 * 36, size_bytes=4 * 8 * 9
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_linear_layer(device: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 4, 10, device=device))
    assert _plain(measure_module_cost(model, channels=2, image_size=4)) == Cost(
        num_params=330, macs=320, size_bytes=1320
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted(device: str) -> None:
    # Two products per head, of 64 x 64 x 64 each: 6,291,456 MACs are 12,582,912 floating-point operations.
    cost = measure_module_cost(Attention().to(device), channels=1, image_size=64)
    assert cost.macs == 12 * 2 * 64**3 == 12_582_912 // 2


def test_buffers_count_only_as_bytes() -> None:
    norm = nn.BatchNorm2d(5)
    # 10 parameters, 10 running statistics of 4 bytes, one counter of 8.
    assert _plain(measure_module_cost(norm, channels=5, image_size=2)) == Cost(num_params=10, macs=0, size_bytes=88)


def test_frozen_parameters_count() -> None:
    model = nn.Conv2d(1, 2, 1).requires_grad_(False)
    assert measure_module_cost(model, channels=1, image_size=2).num_params == 4


def test_a_small_resnet_by_hand() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 6), "depths": (1, 1)})
    cost = measure_cost(spec, num_classes=10, channels=1, image_size=8)
    convolutions = {  # parameters: places where they are used
        "stem": (1 * 4 * 9, 64),
        "stage 0": (2 * 4 * 4 * 9, 64),
        "stage 1": (4 * 6 * 9 + 6 * 6 * 9, 16),
        "shortcut": (4 * 6, 16),
    }
    norms = 2 * (4 + 4 + 4 + 6 + 6 + 6)
    linear = 6 * 10
    assert cost.num_params == sum(parameters for parameters, _ in convolutions.values()) + norms + linear + 10
    assert cost.macs == sum(parameters * places for parameters, places in convolutions.values()) + linear
    assert cost.size_bytes == 4 * (cost.num_params + norms) + 6 * 8


@pytest.mark.parametrize(
    ("architecture", "arguments", "image_size"),
    [
        ("small_resnet", {"widths": (8, 12), "depths": (1, 1), "block": "bottleneck"}, 9),
        ("test_resnet", {}, 32),
        ("test_convnext", {}, 32),
        ("test_efficientnet", {}, 32),
        ("vit_tiny_patch16_224", {"patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}, 32),
        (
            "swin_tiny_patch4_window7_224",
            {"patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)},
            32,
        ),
    ],
)
def test_the_cost_on_the_meta_device_is_that_of_a_real_network(
    architecture: str, arguments: dict[str, Any], image_size: int
) -> None:
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    model = build_student(spec, num_classes=7, channels=3, image_size=image_size)
    real = measure_module_cost(model, channels=3, image_size=image_size)
    assert measure_cost(spec, num_classes=7, channels=3, image_size=image_size) == real
    assert real.num_params == sum(parameter.numel() for parameter in model.parameters())
    assert real.macs > 0


@pytest.mark.parametrize("training", [True, False])
def test_measuring_does_not_change_the_network(training: bool) -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (1,)})
    model = build_student(spec, num_classes=3, channels=1, image_size=8).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure_module_cost(model, channels=1, image_size=8)
    assert model.training == training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_huge_candidate_can_be_measured() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (20_000,), "depths": (1,)})
    assert measure_cost(spec, num_classes=10, channels=3, image_size=8).num_params > 7 * 10**9


def test_a_candidate_that_cannot_be_built_is_an_error() -> None:
    with pytest.raises(SpaceError) as caught:
        measure_cost(
            StudentSpec(architecture="small_resnet", arguments={"widths": (8,)}),
            num_classes=10, channels=1, image_size=8,
        )  # fmt: skip
    assert caught.value.code == "models.candidate_not_buildable"
    assert caught.value.field == "candidate small_resnet(widths=(8,))"
