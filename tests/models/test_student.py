from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from nas_distill.errors import SpaceError
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.small_resnet import SmallResNet
from nas_distill.models.student import build_student, check_student
from nas_distill.records import StudentSpec

SMALL = {"widths": (4, 6), "depths": (1, 1)}
SMALL_VIT = {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}


class WrongOutput(nn.Module):
    """SplitMetrics with a map, whatever the number of classes."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, **_others: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(in_chans, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def build(
    architecture: str, arguments: dict[str, Any] | None = None, *, image_size: int = 32, **others: Any
) -> nn.Module:
    spec = StudentSpec(architecture=architecture, arguments=arguments or {})
    settings = {"num_classes": 7, "channels": 1, "image_size": image_size, **others}
    return build_student(spec, **settings)


def rejection(*arguments: Any, **others: Any) -> str:
    with pytest.raises(SpaceError) as caught:
        build(*arguments, **others)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("small_resnet", SMALL), ("test_resnet", {}), ("test_convnext", {}), ("vit_tiny_patch16_224", SMALL_VIT)],
)
def test_images_in_logits_out(architecture: str, arguments: dict[str, Any]) -> None:
    model = build(architecture, arguments)
    assert model(torch.rand(3, 1, 32, 32)).shape == (3, 7)


@pytest.mark.parametrize("image_size", [8, 28, 32])
def test_the_image_size_is_filled_in_where_it_is_fixed(image_size: int) -> None:
    model = build("vit_tiny_patch16_224", SMALL_VIT, image_size=image_size)
    assert model(torch.rand(1, 1, image_size, image_size)).shape == (1, 7)
    assert timm.create_model("vit_tiny_patch16_224").patch_embed.img_size == (224, 224)


def test_an_image_size_of_the_spec_stays_and_is_tried() -> None:
    arguments = {**SMALL_VIT, "img_size": 16}
    message = rejection("vit_tiny_patch16_224", arguments, device="meta")
    assert "cannot take 1x32x32 images: Input height (32) doesn't match model (16)" in message


def test_drop_rates_go_where_the_architecture_takes_them() -> None:
    model = build("small_resnet", SMALL, drop_rate=0.2, drop_path_rate=0.3)
    assert isinstance(model, SmallResNet)
    assert model.drop_rate == 0.2
    assert max(module.drop_prob for module in model.modules() if isinstance(module, DropPath)) == pytest.approx(0.3)
    plain = build("small_resnet", SMALL)
    assert not any(isinstance(module, DropPath) for module in plain.modules())


def test_drop_rates_reach_classes_that_hand_arguments_on() -> None:
    arguments = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = build("deit_tiny_distilled_patch16_224", arguments, drop_path_rate=0.3)
    assert any(isinstance(module, DropPath) for module in model.modules())


def test_architectures_without_drop_rates_are_built_without() -> None:
    model = build("ghostnet_050", drop_rate=0.2, drop_path_rate=0.3, device="meta")
    assert model.drop_rate == 0.2
    assert not any(isinstance(module, DropPath) for module in model.modules())


def test_the_random_state_decides_the_weights() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build("small_resnet", SMALL, drop_path_rate=0.1).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_the_meta_device_allocates_nothing() -> None:
    assert {p.device.type for p in build("test_resnet", device="meta").parameters()} == {"meta"}


def test_an_unknown_architecture_names_the_nearest() -> None:
    message = rejection("resnet_18")
    assert message.startswith("candidate resnet_18(): timm has no such architecture; did you mean 'resnet18'?")


@pytest.mark.parametrize("name", ["num_classes", "in_chans"])
def test_what_the_data_decide_is_refused(name: str) -> None:
    message = rejection("small_resnet", {name: 3})
    assert (
        message == f"candidate small_resnet({name}=3): '{name}' is decided by the data; leave it out of the arguments"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"widths": (8,), "depths": (1, 1)}, "ValueError: small_resnet: widths (8,) and depths (1, 1)"),
        ({"width": 8}, "TypeError: "),
        ({"widths": ("a", "b"), "depths": (1, 1)}, "TypeError: "),
    ],
)
def test_what_a_constructor_refuses_is_told(arguments: dict[str, Any], reason: str) -> None:
    assert f"cannot be built: {reason}" in rejection("small_resnet", arguments)


def test_images_too_small_are_told() -> None:
    assert "cannot take 1x4x4 images: " in rejection("test_convnext", image_size=4, device="meta")


def test_a_wrong_output_is_told() -> None:
    def map_maker(pretrained: bool = False, **arguments: Any) -> nn.Module:
        for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            arguments.pop(name, None)
        return WrongOutput(**arguments)

    map_maker.__module__ = __name__
    timm.models.register_model(map_maker)
    message = rejection("map_maker", device="meta")
    assert message == "candidate map_maker(): gives an output of shape (1, 7, 32, 32), not (1, 7)"


class Mapless(nn.Module):
    """Images in, logits out, and nothing on the way."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, **_others: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(in_chans, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


@timm.models.register_model  # type: ignore[untyped-decorator]
def mapless(pretrained: bool = False, **arguments: Any) -> nn.Module:
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        arguments.pop(name, None)
    return Mapless(**arguments)


@pytest.mark.parametrize(
    ("outputs", "kind"), [(OutputRequest(embedding=True), "embedding"), (OutputRequest(depths=(1.0,)), "feature map")]
)
def test_a_candidate_that_lacks_a_signal_is_told(outputs: OutputRequest, kind: str) -> None:
    lack = (
        f"gives no {kind}: it has no forward_features and forward_head; leave it out of the space, or take losses that "
        f"compare no {kind}s"
    )
    assert rejection("mapless", device="meta", request=outputs) == f"candidate mapless(): {lack}"
    network = build("mapless", request=outputs)  # only the meta device is for trying
    with pytest.raises(SpaceError) as caught:
        check_student(network, torch.rand(2, 1, 32, 32), outputs)
    assert str(caught.value) == f"candidate Mapless: {lack}"


def test_a_candidate_that_has_its_signals_is_built() -> None:
    outputs = OutputRequest(embedding=True, depths=(0.5, 1.0))
    build("small_resnet", SMALL, device="meta", request=outputs)
    network = build("small_resnet", SMALL)
    assert check_student(network, torch.rand(2, 1, 32, 32), outputs) == ((6,), ((4, 32, 32), (6, 16, 16)))
    network.get_submodule("fc").forward = lambda x: torch.rand(len(x), 7)
    with pytest.raises(SpaceError, match="candidate small_resnet: gives no embedding: the logits that follow"):
        check_student(network, torch.rand(2, 1, 32, 32), OutputRequest(embedding=True))
