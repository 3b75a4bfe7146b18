"""Building students: arguments, drop rates, random weights and errors."""

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
    """Return a map instead of one logit per class."""

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


def rejection(*arguments: Any, **others: Any) -> tuple[str, str | None]:
    """Return code and field of the error, whose message is one line."""
    with pytest.raises(SpaceError) as caught:
        build(*arguments, **others)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.code, caught.value.field


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("small_resnet", SMALL), ("test_resnet", {}), ("test_convnext", {}), ("vit_tiny_patch16_224", SMALL_VIT)],
)
def test_a_student_maps_images_to_logits(architecture: str, arguments: dict[str, Any]) -> None:
    model = build(architecture, arguments)
    assert model(torch.rand(3, 1, 32, 32)).shape == (3, 7)


@pytest.mark.parametrize("image_size", [8, 28, 32])
def test_the_image_size_is_passed_to_architectures_that_need_it(image_size: int) -> None:
    model = build("vit_tiny_patch16_224", SMALL_VIT, image_size=image_size)
    assert model(torch.rand(1, 1, image_size, image_size)).shape == (1, 7)
    assert timm.create_model("vit_tiny_patch16_224").patch_embed.img_size == (224, 224)


def test_an_image_size_of_the_spec_is_kept_and_checked() -> None:
    arguments = {**SMALL_VIT, "img_size": 16}
    code, _ = rejection("vit_tiny_patch16_224", arguments, device="meta")
    assert code == "models.image_size_rejected"


def test_drop_rates_are_passed_to_the_architecture() -> None:
    model = build("small_resnet", SMALL, drop_rate=0.2, drop_path_rate=0.3)
    assert isinstance(model, SmallResNet)
    assert model.drop_rate == 0.2
    assert max(module.drop_prob for module in model.modules() if isinstance(module, DropPath)) == pytest.approx(0.3)
    plain = build("small_resnet", SMALL)
    assert not any(isinstance(module, DropPath) for module in plain.modules())


def test_drop_rates_reach_the_base_classes_of_an_architecture() -> None:
    arguments = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = build("deit_tiny_distilled_patch16_224", arguments, drop_path_rate=0.3)
    assert any(isinstance(module, DropPath) for module in model.modules())


def test_drop_rates_are_ignored_by_architectures_without_them() -> None:
    model = build("ghostnet_050", drop_rate=0.2, drop_path_rate=0.3, device="meta")
    assert model.drop_rate == 0.2
    assert not any(isinstance(module, DropPath) for module in model.modules())


def test_the_random_state_determines_the_weights() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build("small_resnet", SMALL, drop_path_rate=0.1).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_the_meta_device_allocates_nothing() -> None:
    assert {p.device.type for p in build("test_resnet", device="meta").parameters()} == {"meta"}


def test_an_unknown_architecture_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(SpaceError) as caught:
        build("resnet_18")
    assert "'resnet18'" in str(caught.value)
    assert (caught.value.code, caught.value.field) == ("models.architecture_unknown", "candidate resnet_18()")


@pytest.mark.parametrize("name", ["num_classes", "in_chans"])
def test_arguments_that_the_data_decide_are_rejected(name: str) -> None:
    found = rejection("small_resnet", {name: 3})
    assert found == ("models.reserved_argument", f"candidate small_resnet({name}=3)")


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"widths": (8,), "depths": (1, 1)}, ValueError),
        ({"width": 8}, TypeError),
        ({"widths": ("a", "b"), "depths": (1, 1)}, TypeError),
    ],
)
def test_arguments_that_a_constructor_rejects_are_an_error(arguments: dict[str, Any], cause: type[Exception]) -> None:
    with pytest.raises(SpaceError) as caught:
        build("small_resnet", arguments)
    assert caught.value.code == "models.candidate_not_buildable"
    assert str(caught.value.field).startswith("candidate small_resnet(")
    assert isinstance(caught.value.__cause__, cause)
    assert f"{cause.__name__}: {caught.value.__cause__}" in str(caught.value)


def test_too_small_images_are_an_error() -> None:
    found = rejection("test_convnext", image_size=4, device="meta")
    assert found == ("models.image_size_rejected", "candidate test_convnext()")


def test_an_output_of_the_wrong_shape_is_an_error() -> None:
    def map_maker(pretrained: bool = False, **arguments: Any) -> nn.Module:
        for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            arguments.pop(name, None)
        return WrongOutput(**arguments)

    map_maker.__module__ = __name__
    timm.models.register_model(map_maker)
    assert rejection("map_maker", device="meta") == ("models.output_shape_wrong", "candidate map_maker()")


class Mapless(nn.Module):
    """A classifier without timm's interface."""

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


@pytest.mark.parametrize("outputs", [OutputRequest(embedding=True), OutputRequest(depths=(1.0,))])
def test_a_candidate_without_a_requested_output_is_an_error(outputs: OutputRequest) -> None:
    found = rejection("mapless", device="meta", request=outputs)
    assert found == ("models.output_missing", "candidate mapless()")
    network = build("mapless", request=outputs)  # the check runs on the meta device only
    with pytest.raises(SpaceError) as caught:
        check_student(network, torch.rand(2, 1, 32, 32), outputs)
    assert (caught.value.code, caught.value.field) == ("models.output_missing", "candidate Mapless")


def test_a_candidate_with_the_requested_outputs_is_accepted() -> None:
    outputs = OutputRequest(embedding=True, depths=(0.5, 1.0))
    build("small_resnet", SMALL, device="meta", request=outputs)
    network = build("small_resnet", SMALL)
    assert check_student(network, torch.rand(2, 1, 32, 32), outputs) == ((6,), ((4, 32, 32), (6, 16, 16)))
    network.get_submodule("fc").forward = lambda x: torch.rand(len(x), 7)
    with pytest.raises(SpaceError) as caught:
        check_student(network, torch.rand(2, 1, 32, 32), OutputRequest(embedding=True))
    assert (caught.value.code, caught.value.field) == ("models.output_missing", "candidate small_resnet")
