"""`small_resnet` through timm's interface."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from nas_distill.models.small_resnet import SmallResNet

SHAPES: list[dict[str, Any]] = [
    {"widths": (8,), "depths": (1,)},
    {"widths": (4, 6), "depths": (1, 2)},
    {"widths": (4, 6, 8), "depths": (1, 1, 1), "block": "bottleneck"},
    {"widths": (4, 6, 8, 10), "depths": (2, 1, 1, 1), "stem_stride": 2},
]


def images(size: int = 16, count: int = 2, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def make(**arguments: Any) -> SmallResNet:
    torch.manual_seed(0)
    model = timm.create_model("small_resnet", **arguments)
    assert isinstance(model, SmallResNet)
    return model


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 7, 8, 17, 32])
def test_any_image_size(shape: dict[str, Any], size: int) -> None:
    model = make(**shape, num_classes=5).eval()
    features = model.forward_features(images(size))
    side = size
    for halved in [shape.get("stem_stride", 1), *[2] * (len(shape["widths"]) - 1)]:
        side = -(-side // halved)
    assert features.shape == (2, model.num_features, side, side)
    assert model(images(size)).shape == (2, 5)
    assert model(torch.rand(2, 3, size, 2 * size)).shape == (2, 5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interface_of_timm(shape: dict[str, Any]) -> None:
    model = make(**shape, num_classes=5).eval()
    batch = images()
    features = model.forward_features(batch)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    assert model.head_hidden_size == model.num_features
    assert torch.equal(model.forward_head(features), model(batch))
    classifier = model.get_classifier()
    assert isinstance(classifier, nn.Linear)
    assert torch.allclose(classifier(pooled), model(batch))
    assert (classifier.in_features, classifier.out_features) == (model.num_features, 5)
    assert torch.allclose(pooled, features.mean(dim=(2, 3)), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_feature_info_matches_the_maps(shape: dict[str, Any]) -> None:
    model = make(**shape).eval()
    seen: list[tuple[int, int]] = []

    def look(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((output.shape[1], 64 // output.shape[2]))

    for info in model.feature_info:
        model.get_submodule(str(info["module"])).register_forward_hook(look)
    model(images(64))
    assert seen == [(info["num_chs"], info["reduction"]) for info in model.feature_info]
    assert seen[-1][0] == model.num_features


@pytest.mark.parametrize("shape", SHAPES)
def test_features_only(shape: dict[str, Any]) -> None:
    model = timm.create_model("small_resnet", features_only=True, **shape)
    maps = model(images(64))
    assert [feature.shape[1] for feature in maps] == model.feature_info.channels()
    assert [64 // feature.shape[2] for feature in maps] == model.feature_info.reduction()
    assert len(maps) == len(shape["widths"])


@pytest.mark.parametrize("shape", SHAPES)
def test_intermediates_are_the_stages_maps(shape: dict[str, Any]) -> None:
    model = make(**shape).eval()
    seen: list[Tensor] = []
    for stage in model.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    batch = images()
    features, maps = model.forward_intermediates(batch)
    assert isinstance(features, Tensor)
    assert torch.equal(features, seen[-1])
    stages = len(shape["widths"])
    assert len(maps) == stages == len(seen) == len(model.feature_info)
    assert all(torch.equal(one, other) for one, other in zip(maps, seen, strict=True))
    control = model.forward_intermediates(batch, indices=[0], intermediates_only=True)
    assert torch.equal(control[0], maps[0])
    last = model.forward_intermediates(batch, indices=1, norm=True, intermediates_only=True)
    assert torch.equal(last[0], maps[-1])
    assert torch.equal(model.forward_intermediates(batch, indices=[-1])[1][0], maps[-1])
    assert torch.equal(features, model.forward_features(batch))


def test_intermediates_can_stop_early() -> None:
    model = make(widths=(4, 6, 8), depths=(1, 1, 1)).eval()
    calls: list[int] = []
    for number, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda _module, _inputs, _output, number=number: calls.append(number))
    features, maps = model.forward_intermediates(images(), indices=[0, 1], stop_early=True)
    assert calls == [0, 1]
    assert features is maps[-1]
    with pytest.raises(ValueError, match="'NLC'"):
        model.forward_intermediates(images(), output_fmt="NLC")
    with pytest.raises(AssertionError):
        model.forward_intermediates(images(), indices=[3])


def test_reset_classifier() -> None:
    model = make(num_classes=5)
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(images()).shape == (2, 7)
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert model(images()).shape == (2, model.num_features)
    assert make(num_classes=0)(images()).shape == (2, 64)
    model.reset_classifier(3, global_pool="max")
    features = model.eval().forward_features(images())
    assert torch.equal(model.forward_head(features, pre_logits=True), features.amax(dim=(2, 3)))


def test_channels_and_registration() -> None:
    assert timm.is_model("small_resnet")
    assert make(in_chans=1)(images(channels=1)).shape == (2, 10)
    config = make(num_classes=4).pretrained_cfg
    assert isinstance(config, dict)
    assert (config["classifier"], config["first_conv"]) == ("fc", "conv1")
    assert make().get_submodule("conv1").weight.shape == (16, 3, 3, 3)


def test_the_same_seed_the_same_weights() -> None:
    one, other = make().state_dict(), make().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    model = make()
    assert all(bool((m.weight == 1).all()) for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_stochastic_depth_grows_linearly_to_the_last_block() -> None:
    model = make(widths=(4, 4), depths=(2, 2), drop_path_rate=0.3)
    rates = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.3)
    assert not [module for module in make().modules() if isinstance(module, DropPath)]


@pytest.mark.parametrize("rate", ["drop_rate", "drop_path_rate"])
def test_dropout_and_stochastic_depth_apply_only_in_training(rate: str) -> None:
    # Batch statistics change from batch to batch, so norms stay in eval mode: only the dropping is left.
    model = make(widths=(8, 8), depths=(2, 2), **{rate: 0.5}).eval()
    batch = images()
    assert torch.equal(model(batch), model(batch))
    plain = make(widths=(8, 8), depths=(2, 2)).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(batch), plain(batch))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(0)
    assert not torch.equal(model(batch), model(batch))


def test_training_lowers_the_loss() -> None:
    model = make(widths=(4, 6), depths=(1, 1), block="bottleneck", num_classes=2)
    model(images()).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ({"widths": (8, 16), "depths": (1,)}, ("widths (8, 16)", "depths (1,)")),
        ({"widths": (), "depths": ()}, ("widths ()", "depths ()")),
        ({"widths": (8, 0), "depths": (1, 1)}, ("widths (8, 0)", "depths (1, 1)")),
        ({"widths": (8, 8), "depths": (1, 0)}, ("widths (8, 8)", "depths (1, 0)")),
        ({"block": "bottle"}, ("block 'bottle'", "basic", "bottleneck")),
    ],
)
def test_invalid_sizes_are_an_error_that_names_the_arguments(
    arguments: dict[str, Any], values: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="small_resnet") as caught:
        make(**arguments)
    assert all(value in str(caught.value) for value in values)


def test_unknown_arguments_and_downloads_are_rejected() -> None:
    with pytest.raises(TypeError, match="width"):
        make(width=(8, 8))
    with pytest.raises(RuntimeError):
        make(pretrained=True)
