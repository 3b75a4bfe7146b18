"""Merged branches of networks that have them for training only."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from nas_distill.models.costs.cost import measure_cost, measure_module_cost
from nas_distill.models.costs.fusion import fused
from nas_distill.records import StudentSpec

REPVGG = {"widths": (8, 8, 16, 16), "depths": (1, 2, 1, 1), "strides": (1, 1, 2, 2, 2)}


def make(architecture: str, **arguments: object) -> nn.Module:
    """Return a network whose BatchNorm layers have weights and statistics other than the initial ones."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(architecture, num_classes=5, **arguments)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean = torch.rand_like(module.bias)
            module.running_var = 0.5 + torch.rand_like(module.bias)
    return network.eval()


@pytest.mark.parametrize(
    ("architecture", "arguments"), [("small_repvgg", REPVGG), ("repghostnet_050", {}), ("repvit_m0_9", {})]
)
def test_merged_branches_give_the_same_logits(architecture: str, arguments: dict[str, object]) -> None:
    network = make(architecture, **arguments)
    images = torch.rand(2, 3, 64, 64)
    merged = fused(network)
    with torch.no_grad():
        expected = network(images)
        assert torch.allclose(merged(images), expected, atol=1e-5 * float(expected.abs().max()))
    assert sum(weight.numel() for weight in merged.parameters()) < sum(w.numel() for w in network.parameters())


def test_the_network_itself_keeps_its_branches_and_its_mode() -> None:
    network = make("small_repvgg", **REPVGG).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    merged = fused(network)
    assert network.training
    assert not merged.training
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_without_such_branches_is_not_copied() -> None:
    network = make("test_resnet")
    assert fused(network) is network


def test_the_cost_is_that_of_the_merged_network_by_hand() -> None:
    places = {"stem": 32 * 32, 0: 32 * 32, 1: 16 * 16, 2: 8 * 8, 3: 4 * 4}
    convolutions = [("stem", 3, 8), (0, 8, 8), (1, 8, 8), (1, 8, 8), (2, 8, 16), (3, 16, 16)]
    params = sum(9 * inputs * outputs + outputs for _, inputs, outputs in convolutions) + 16 * 5 + 5
    macs = sum(9 * inputs * outputs * places[stage] for stage, inputs, outputs in convolutions) + 16 * 5
    cost = measure_module_cost(make("small_repvgg", **REPVGG), channels=3, image_size=32)
    assert (cost.num_params, cost.macs, cost.size_bytes) == (params, macs, 4 * params)
    spec = StudentSpec(architecture="small_repvgg", arguments=REPVGG)
    assert measure_cost(spec, num_classes=5, channels=3, image_size=32) == cost
