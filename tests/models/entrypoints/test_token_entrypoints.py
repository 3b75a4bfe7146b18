"""`small_convnext`, `small_convnextv2`, `small_mixer` and `small_swin` through timm's interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from nas_distill.model_outputs import OutputRequest
from nas_distill.models.student import build_student, check_student
from nas_distill.models.teacher import save_local_dir
from nas_distill.records import StudentSpec

ARGUMENTS: dict[str, dict[str, Any]] = {
    "small_convnext": {"dims": (4, 6, 8, 10), "depths": (1, 1, 1, 1), "ls_init_value": 0.1},
    "small_convnextv2": {"dims": (4, 6, 8, 10), "depths": (1, 1, 1, 1)},
    "small_mixer": {"patch_size": 4, "embed_dim": 8, "num_blocks": 2, "mlp_ratio": (0.5, 2.0)},
    "small_swin": {"patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (2, 1), "num_heads": (1, 2)},
}
SIZE = 33
"""A size that no patch size divides."""

each_entrypoint = pytest.mark.parametrize("name", list(ARGUMENTS))


def build(name: str, size: int = SIZE, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    spec = StudentSpec(architecture=name, arguments=ARGUMENTS[name])
    return build_student(spec, num_classes=3, channels=1, image_size=size, **settings).eval()


def images(size: int = SIZE) -> Tensor:
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))


@each_entrypoint
def test_a_saved_network_gives_the_same_logits_when_timm_loads_it(name: str, tmp_path: Path) -> None:
    network = build(name)
    fixed_size = timm.get_pretrained_cfg(name).fixed_input_size
    save_local_dir(
        network,
        tmp_path,
        arguments={**ARGUMENTS[name], **({"img_size": SIZE} if fixed_size else {})},
        class_names=("ant", "bee", "cat"),
        channels=1,
        image_size=SIZE,
        mean=(0.4,),
        std=(0.2,),
    )
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(loaded(images()), network(images()))


@each_entrypoint
def test_embedding_and_maps_belong_to_the_logits(name: str) -> None:
    shapes = check_student(build(name), images()[:1], OutputRequest(embedding=True, depths=(0.5, 1.0)))
    side = 9 if name in {"small_mixer", "small_swin"} else 2
    assert shapes.maps[-1][1:] == (side, side)
    assert shapes.embedding == shapes.maps[-1][:1]


@each_entrypoint
def test_another_class_count_and_the_classifier_of_the_config(name: str) -> None:
    network: Any = build(name)
    config = timm.get_pretrained_cfg(name)
    assert network.get_submodule(config.first_conv).in_channels == 1
    assert network.get_submodule(config.classifier).out_features == 3
    network.reset_classifier(5)
    assert network(images()).shape == (2, 5)


@each_entrypoint
def test_stochastic_depth_is_off_by_default(name: str) -> None:
    assert not any(isinstance(module, DropPath) for module in build(name).modules())
    assert any(isinstance(module, DropPath) for module in build(name, drop_path_rate=0.2).modules())


@pytest.mark.parametrize(("name", "padded"), [("small_mixer", 36), ("small_swin", 34)])
def test_images_are_padded_with_zeros_to_whole_patches(name: str, padded: int) -> None:
    network, larger = build(name), build(name, size=padded)
    larger.load_state_dict(network.state_dict())
    surplus = padded - SIZE
    control = larger(nn.functional.pad(images(), (0, surplus, 0, surplus)))
    assert torch.equal(network(images()), control)


def test_the_stages_of_small_convnext_have_strides_2_to_16() -> None:
    network: Any = build("small_convnext", size=32)
    _, maps = network.forward_intermediates(images(32))
    assert [32 // feature_map.shape[2] for feature_map in maps] == [2, 4, 8, 16]
    assert [info["reduction"] for info in network.feature_info] == [2, 4, 8, 16]
