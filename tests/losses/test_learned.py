"""Losses with learned parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import softplus

from nas_distill.errors import ConfigError
from nas_distill.losses.learned import HintRegressor, LearnedLoss, VariationalRegressor
from nas_distill.model_outputs import Shape

PAIRS: list[tuple[Shape, Shape]] = [
    ((4, 8, 8), (6, 8, 8)),
    ((4, 8, 8), (6, 4, 4)),
    ((4, 4, 4), (6, 8, 8)),
    ((4, 7, 7), (6, 4, 4)),
    ((4, 3, 3), (6, 8, 8)),
    ((4, 6, 8), (6, 3, 4)),
    ((4, 2, 8), (6, 4, 4)),
]


@pytest.mark.parametrize("kind", [HintRegressor, VariationalRegressor])
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_any_two_maps_can_be_compared(kind: type[LearnedLoss], student: Shape, teacher: Shape) -> None:
    torch.manual_seed(0)
    loss = kind(student, teacher)
    features, target = torch.randn(5, *student, requires_grad=True), torch.randn(5, *teacher)
    value = loss(features, target)
    value.backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert all(weight.grad is not None for weight in loss.parameters())


@pytest.mark.parametrize("kind", [HintRegressor, VariationalRegressor])
def test_training_lowers_the_loss_and_its_state_can_be_restored(kind: type[LearnedLoss]) -> None:
    torch.manual_seed(0)
    loss, again = (kind((4, 8, 8), (6, 4, 4)) for _ in range(2))
    features, target = torch.randn(8, 4, 8, 8), torch.randn(8, 6, 4, 4).relu()
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    values = []
    for _ in range(10):
        optimizer.zero_grad()
        values.append(loss(features, target))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < values[0]
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(features, target), loss(features, target))


@pytest.mark.parametrize("variance", [0.1, 5.0, 200.0])
def test_the_initial_variance_is_the_parameter(variance: float) -> None:
    loss = VariationalRegressor((4, 8, 8), (6, 4, 4), variance=variance, floor=1e-3)
    torch.testing.assert_close(softplus(loss.log_scale) + 1e-3, torch.full((6,), variance), rtol=1e-5, atol=0.0)


def test_features_without_spatial_dimensions_are_a_config_error() -> None:
    for kind, name in ((HintRegressor, "hint"), (VariationalRegressor, "vid")):
        with pytest.raises(ConfigError) as caught:
            kind((16,), (6, 4, 4))
        assert (caught.value.code, caught.value.field) == ("losses.needs_feature_map", f"recipe.losses.{name}")


def test_a_large_initial_variance_does_not_overflow() -> None:
    assert math.isfinite(VariationalRegressor((4, 8, 8), (6, 4, 4), variance=1e4).log_scale[0].item())
