"""Weights of timm and of other runs: which fit a candidate, where they are found, and what is wrong otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from nas_distill.config import RUN
from nas_distill.errors import SpaceError, TeacherError
from nas_distill.models.starts.pretrained import load_pretrained, pretrained_misfit
from nas_distill.models.starts.rules import teacher_layout, weights_misfit
from nas_distill.records import FROM_TEACHER, PRETRAINED, RANDOM, StudentSpec
from nas_distill.records.network_shape import NetworkShape

SHAPE = NetworkShape(num_classes=3, channels=1, image_size=32)
VIT = StudentSpec(architecture="test_vit")


def file_of(network: nn.Module, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(network.state_dict(), path)
    return path


def source(classes: int = 1000) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model("test_vit", num_classes=classes)
    return made


def rejection(spec: StudentSpec, root: Path) -> tuple[str, str | None]:
    with pytest.raises(SpaceError) as caught:
        load_pretrained(spec, image_size=32, root=root)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.code, caught.value.field


@pytest.mark.parametrize(
    "name", ["test_vit.safetensors", "test_vit/model.safetensors", "test_vit.r160_in1k.safetensors"]
)
def test_weights_in_a_folder_are_found_by_the_name_of_the_architecture(tmp_path: Path, name: str) -> None:
    given = source()
    file_of(given, tmp_path / name)
    found = load_pretrained(VIT, image_size=32, root=tmp_path)
    own, theirs = found.state_dict(), given.state_dict()
    assert torch.equal(own["blocks.0.attn.qkv.weight"], theirs["blocks.0.attn.qkv.weight"])
    assert own["pos_embed"].shape != theirs["pos_embed"].shape, "positions fit the images"
    assert found.num_classes == 1000


def test_a_folder_may_hold_a_network_with_other_classes(tmp_path: Path) -> None:
    given = source(classes=7)
    file_of(given, tmp_path / "test_vit" / "model.safetensors")
    (tmp_path / "test_vit" / "config.json").write_text(json.dumps({"num_classes": 7}))
    assert load_pretrained(VIT, image_size=32, root=tmp_path).num_classes == 7


def test_missing_and_damaged_weights_are_an_error(tmp_path: Path) -> None:
    assert rejection(VIT, tmp_path) == ("models.pretrained_unavailable", "candidate test_vit")
    (tmp_path / "test_convnext.safetensors").write_bytes(b"torn")
    convnext = StudentSpec(architecture="test_convnext")
    assert rejection(convnext, tmp_path) == ("models.pretrained_unavailable", "candidate test_convnext")
    file_of(source(), tmp_path / "test_resnet.safetensors")
    resnet = StudentSpec(architecture="test_resnet")
    assert rejection(resnet, tmp_path) == ("models.pretrained_unavailable", "candidate test_resnet")


def test_a_pickle_in_the_folder_is_not_opened(tmp_path: Path) -> None:
    torch.save(source().state_dict(), tmp_path / "test_vit.bin")
    (tmp_path / "test_vit").mkdir()
    torch.save(source().state_dict(), tmp_path / "test_vit" / "pytorch_model.bin")
    assert rejection(VIT, tmp_path) == ("models.pretrained_unavailable", "candidate test_vit")


def test_pretrained_weights_fit_an_unmodified_architecture_only() -> None:
    assert pretrained_misfit(VIT, SHAPE) is None
    assert pretrained_misfit(StudentSpec(architecture="test_vit", arguments={"img_size": 32}), SHAPE) is None
    strided = StudentSpec(architecture="test_resnet", arguments={"output_stride": 8})
    assert pretrained_misfit(strided, SHAPE) is None, "the stride changes no weight"
    deeper = pretrained_misfit(StudentSpec(architecture="test_vit", arguments={"depth": 7}), SHAPE)
    assert deeper is not None
    assert "blocks.6" in deeper
    narrower = pretrained_misfit(StudentSpec(architecture="test_vit", arguments={"embed_dim": 32}), SHAPE)
    assert narrower == "cls_token is 1x1x32 in the candidate and 1x1x64 in timm's network"
    assert pretrained_misfit(StudentSpec(architecture="small_resnet"), SHAPE) == "timm has no weights of small_resnet"


def test_each_kind_of_weights_has_its_rule() -> None:
    arguments: dict[str, object] = {"widths": (8, 16), "depths": (2, 2)}
    teacher = teacher_layout("small_resnet", arguments, num_classes=3, channels=3, image_size=32)

    def misfit(start: str, **changes: object) -> str | None:
        spec = StudentSpec(architecture="small_resnet", arguments={**arguments, **changes})
        return weights_misfit(spec, start, shape=SHAPE, teacher=teacher)

    assert misfit(RANDOM, widths=(32, 64)) is None
    assert misfit(FROM_TEACHER, widths=(4, 16)) is None
    assert misfit(FROM_TEACHER, widths=(8, 32)) == (
        "stages.1.0.conv1.weight is 32x8x3x3 in the student and 16x8x3x3 in the teacher"
    )
    assert misfit(PRETRAINED) == "timm has no weights of small_resnet"
    with pytest.raises(TeacherError) as caught:
        misfit(f"{RUN}nowhere/3")
    assert caught.value.code == "models.run_unreadable"
