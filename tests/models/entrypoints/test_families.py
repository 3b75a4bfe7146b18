"""Our convolutional entrypoints through timm's interface: strides, heads, drop rates, training, saving and loading."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from nas_distill.config import LOCAL_DIR
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.student import build_student, check_student
from nas_distill.models.weight_selection import read_layout, selection_misfit
from nas_distill.models.weights import load_local_dir, save_weights
from nas_distill.records import StudentSpec
from tests.models.networks import make_folder

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnetv2": ("small_resnetv2", {"stem_type": "deep", "avg_down": True, "block": "bottleneck"}),
    "regnet": ("small_regnet", {"w0": 8, "wa": 8.0, "se_ratio": 0.25}),
    "repvgg": ("small_repvgg", {"widths": (8, 8, 16, 16), "depths": (1, 2, 1, 1)}),
    "mobilenetv2": ("small_mobilenetv2", {"width": 0.1, "depth": 0.5}),
    "mobilenetv3": ("small_mobilenetv3", {"size": "small", "width": 0.1}),
    "mobilenetv4": ("small_mobilenetv4", {"size": "small", "width": 0.1}),
    "efficientnet": ("small_efficientnet", {"width": 0.1, "depth": 0.3}),
    "efficientnetv2": ("small_efficientnet", {"version": 2, "width": 0.1, "depth": 0.3}),
    "ghostnet": ("small_ghostnet", {"width": 0.1, "depth": 0.5}),
    "ghostnetv2": ("small_ghostnet", {"version": 2, "width": 0.1, "depth": 0.5}),
    "efficientvit": ("small_efficientvit", {"widths": (4, 8, 16, 16, 32), "head_widths": (32, 32)}),
}
WITHOUT_DROP_PATH = {"ghostnet", "ghostnetv2", "efficientvit"}
ALL_OUTPUTS = OutputRequest(embedding=True, depths=(0.5, 1.0))

network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str, *, image_size: int = 32, strides: tuple[int, ...] = (1, 1, 2, 2, 2), **others: Any) -> nn.Module:
    return copy.deepcopy(_build(name, strides, num_classes=5, image_size=image_size, **{"channels": 3, **others}))


@cache
def _build(name: str, strides: tuple[int, ...], **settings: Any) -> nn.Module:
    architecture, arguments = NETWORKS[name]
    torch.manual_seed(0)
    return build_student(
        StudentSpec(architecture=architecture, arguments={**arguments, "strides": strides}), **settings
    )


def images(count: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@network
@pytest.mark.parametrize(
    ("image_size", "strides", "side"),
    [(49, (1, 2, 2, 2, 2), 4), (64, (2, 2, 2, 2, 1), 4)],
)
def test_strides_decide_the_size_of_the_last_map(
    name: str, image_size: int, strides: tuple[int, ...], side: int
) -> None:
    model = build(name, image_size=image_size, strides=strides)
    shapes = check_student(model, images(1, image_size), ALL_OUTPUTS)
    assert shapes.maps[-1][1:] == (side, side)
    assert shapes.embedding == (getattr(model, "head_hidden_size", None),)


@network
def test_the_description_of_the_stages_follows_the_strides(name: str) -> None:
    for image_size, strides in ((32, (1, 1, 2, 2, 2)), (64, (2, 1, 2, 2, 1))):
        model = build(name, image_size=image_size, strides=strides).eval()
        walk: Any = model.forward_intermediates
        maps = walk(images(1, image_size), intermediates_only=True)
        stages: Any = model.feature_info
        described = [(stage["num_chs"], image_size // stage["reduction"]) for stage in stages]
        assert [tuple(one.shape[1:3]) for one in maps] == described


@network
def test_one_to_four_channels(name: str) -> None:
    for channels in (1, 4):
        assert build(name, channels=channels)(images(2, channels=channels)).shape == (2, 5)


@network
def test_every_parameter_is_trained(name: str) -> None:
    model = build(name, drop_rate=0.1, drop_path_rate=0.1)
    loss = nn.functional.cross_entropy(model(images(8)), torch.arange(8) % 5)
    for gradient in torch.autograd.grad(loss, list(model.parameters())):  # raises for a parameter without influence
        assert gradient.isfinite().all()


@network
def test_drop_rates_reach_the_network_where_it_has_them(name: str) -> None:
    plain = build(name).train()
    dropouts = [module.p for module in plain.modules() if isinstance(module, nn.Dropout)]
    assert getattr(plain, "drop_rate", 0.0) == 0.0
    assert not any(dropouts)
    model = build(name, drop_rate=0.25, drop_path_rate=0.2)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert getattr(model, "drop_rate", None) == 0.25 or 0.25 in rates
    has_paths = any(isinstance(module, DropPath) and module.drop_prob > 0 for module in model.modules())
    assert has_paths == (name not in WITHOUT_DROP_PATH)


@network
def test_saved_networks_load_with_timm(name: str, tmp_path: Path) -> None:
    architecture, arguments = NETWORKS[name]
    arguments = {**arguments, "strides": (1, 1, 2, 2, 2)}
    model = build(name).train()
    model(images(8))  # BatchNorm statistics other than the initial ones
    model.eval()
    folder = make_folder(
        tmp_path / "teacher", model, arguments=arguments, class_names=tuple("abcde"), channels=3, image_size=32,
        mean=(0.5,) * 3, std=(0.25,) * 3,
    )  # fmt: skip
    loaded, found = load_local_dir(Path(folder.removeprefix(LOCAL_DIR)), trust_pickle=False)
    assert {key: tuple(found[key]) if isinstance(found[key], list) else found[key] for key in arguments} == arguments
    assert torch.equal(loaded.eval()(images()), model(images()))
    save_weights(model, tmp_path / "student.safetensors")
    again = timm.create_model(
        architecture, num_classes=5, checkpoint_path=str(tmp_path / "student.safetensors"), **arguments
    )
    assert torch.equal(again.eval()(images()), model(images()))


@network
def test_the_first_convolution_and_the_classifier_are_those_of_timms_configuration(name: str) -> None:
    model = build(name)
    config: Any = model.pretrained_cfg
    first = config["first_conv"]
    for layer in (first,) if isinstance(first, str) else first:
        found = model.get_submodule(layer)
        assert isinstance(found, nn.Conv2d)
        assert found.in_channels == 3
    classifier = model.get_submodule(config["classifier"])
    assert isinstance(classifier, nn.Linear | nn.Conv2d)
    assert len(classifier.weight) == 5
    assert classifier is model.get_classifier()  # type: ignore[operator]


def test_invalid_arguments_are_an_error_with_the_valid_ones() -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("small_regnet", {"strides": (2, 2, 2)}, "5 numbers"),
        ("small_regnet", {"depth": 20}, "5 stages"),
        ("small_repvgg", {"strides": (2, 2, 2, 2, 3)}, "each 1 or 2"),
        ("small_mobilenetv3", {"size": "tiny"}, "small, large"),
        ("small_efficientnet", {"version": 3}, "1 or 2"),
        ("small_ghostnet", {"version": 3}, "1 or 2"),
    ]
    for architecture, arguments, part in cases:
        with pytest.raises(ValueError, match=part):
            timm.create_model(architecture, **arguments)


@pytest.mark.parametrize(
    ("ours", "arguments", "theirs"),
    [
        ("small_mobilenetv2", {}, "mobilenetv2_100"),
        ("small_mobilenetv3", {"size": "small"}, "mobilenetv3_small_100"),
        ("small_mobilenetv3", {"size": "large"}, "mobilenetv3_large_100"),
        ("small_mobilenetv4", {"size": "small"}, "mobilenetv4_conv_small"),
        ("small_mobilenetv4", {"size": "medium"}, "mobilenetv4_conv_medium"),
        ("small_efficientnet", {}, "efficientnet_b0"),
        ("small_efficientnet", {"version": 2}, "tf_efficientnetv2_b0"),
        ("small_ghostnet", {}, "ghostnet_100"),
        ("small_ghostnet", {"version": 2}, "ghostnetv2_100"),
        ("small_resnetv2", {"layers": (2,) * 4, "channels": (64, 128, 256, 512), "stem_chs": 64}, "resnetv2_18"),
        (
            "small_repvgg",
            {"widths": (64, 128, 256, 1280), "depths": (4, 6, 16, 1)},
            "repvgg_b0",
        ),
    ],
)
def test_at_full_size_the_networks_are_timms_own(ours: str, arguments: dict[str, Any], theirs: str) -> None:
    with torch.device("meta"):
        found, expected = (
            timm.create_model(name, num_classes=5, **extra) for name, extra in ((ours, arguments), (theirs, {}))
        )
    shapes = [{key: tuple(value.shape) for key, value in model.state_dict().items()} for model in (found, expected)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("ours", "arguments", "theirs"),
    [
        ("small_resnetv2", {"stem_type": "deep", "avg_down": True, "block": "bottleneck"}, "resnetv2_50d"),
        ("small_regnet", {"se_ratio": 0.25}, "regnety_002"),
        ("small_repvgg", {}, "repvgg_a0"),
        ("small_mobilenetv2", {"width": 0.3, "depth": 0.5}, "mobilenetv2_100"),
        ("small_mobilenetv3", {"size": "large", "width": 0.3, "depth": 0.5}, "mobilenetv3_large_100"),
        ("small_mobilenetv4", {"size": "medium", "width": 0.3}, "mobilenetv4_conv_medium"),
        ("small_efficientnet", {"version": 2, "width": 0.3, "depth": 0.5}, "tf_efficientnetv2_b0"),
        ("small_ghostnet", {"width": 0.3, "depth": 0.5}, "ghostnet_100"),
        ("small_efficientvit", {}, "efficientvit_b0"),
    ],
)
def test_students_can_start_from_a_teacher_of_timm(ours: str, arguments: dict[str, Any], theirs: str) -> None:
    with torch.device("meta"):
        student = timm.create_model(ours, num_classes=5, **arguments)
        teacher = timm.create_model(theirs, num_classes=5)
    assert selection_misfit(read_layout(student), read_layout(teacher)) is None
