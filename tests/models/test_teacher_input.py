"""The images that a teacher was made for, before its weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas_distill.config import TeacherConfig
from nas_distill.errors import TeacherError
from nas_distill.models.teacher_input import network_input, teacher_input
from nas_distill.records.resizing import NetworkInput, Resizing
from tests.models.networks import make_folder, make_network


def test_a_folder_states_its_input(tmp_path: Path) -> None:
    resizing = Resizing(crop_ratio=0.9, interpolation="lanczos")
    model = make_folder(tmp_path / "t", make_network(), image_size=24, resizing=resizing)
    assert teacher_input(TeacherConfig(model=model)) == NetworkInput(image_size=24, resizing=resizing)
    larger = teacher_input(TeacherConfig(model=model, image_size=48))
    assert larger == NetworkInput(image_size=48, resizing=resizing)
    assert json.loads((tmp_path / "t" / "config.json").read_text())["pretrained_cfg"]["crop_pct"] == 0.9


def test_a_timm_name_states_that_of_timm() -> None:
    found = teacher_input(TeacherConfig(model="resnet18", checkpoint="weights.safetensors"))
    assert found == NetworkInput(image_size=224, resizing=Resizing(crop_ratio=0.95, interpolation="bicubic"))


def test_the_image_size_of_a_transformer_is_a_constructor_argument() -> None:
    config = {"input_size": (3, 224, 224), "crop_pct": 1.5, "interpolation": "random"}
    assert network_input(config, {"img_size": (96, 96)}) == NetworkInput(image_size=96, resizing=Resizing())
    assert network_input(config, {}).image_size == 224


def test_unknown_teachers_state_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    for model in (None, "no_such_network", "local-dir:nowhere", f"local-dir:{tmp_path}"):
        assert teacher_input(TeacherConfig(model=model)) is None
    with pytest.raises(TeacherError):
        teacher_input(TeacherConfig(model="run:nowhere/3"))
