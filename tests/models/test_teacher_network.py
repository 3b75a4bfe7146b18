"""`Teacher`: its outputs, its memory format, its float32 arithmetic and its head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas_distill.errors import TeacherError
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.split_model import copy_body
from nas_distill.models.teacher import Teacher
from tests.models.networks import SMALL, images, make_network
from tests.models.test_features import SMALL_SWIN


@pytest.mark.parametrize(
    ("architecture", "arguments", "size", "width"),
    [
        ("small_resnet", SMALL, 8, 6),
        ("test_resnet", {}, 32, 96),
        ("test_vit", {"img_size": 32}, 32, 64),
        ("test_convnext", {}, 32, 64),
        ("mobilenetv3_small_050", {}, 32, 1024),
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2},
            32,
            24,
        ),
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "patch_size": 16, "depth": 1}, 32, 192),
    ],
)
def test_the_outputs_are_consistent_with_the_logits(
    architecture: str, arguments: dict[str, Any], size: int, width: int
) -> None:
    teacher = make_teacher(make_network(architecture, arguments), architecture, size=size)
    batch, request = images(size=size), OutputRequest(embedding=True, depths=(0.5, 1.0))
    shapes = teacher.check_outputs(batch, request)
    assert shapes.embedding == (width,)
    outputs = teacher.outputs(batch, request)
    assert outputs.embedding is not None
    assert outputs.embedding.shape == (4, width)
    assert shapes.maps == tuple(tuple(feature_map.shape[1:]) for feature_map in outputs.maps)
    for output in (outputs.logits, outputs.embedding, *outputs.maps):
        assert output.dtype == torch.float32
        assert not output.requires_grad
    torch.testing.assert_close(outputs.logits, teacher(batch), rtol=1e-4, atol=1e-4)


class Odd(nn.Module):
    """A classifier whose embedding is missing or wrong in one of several ways."""

    num_classes = 3

    def __init__(self, way: str) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 3)
        self._way = way
        if way != "no interface":
            self.forward_features = self._features

    def _features(self, x: Tensor) -> Tensor:
        if self._way == "raises":
            raise RuntimeError("no features\ntoday")
        return x if self._way == "a map" else x.flatten(1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits:
            return x
        logits: Tensor = self.fc(x.flatten(1))
        return 2 * logits if self._way == "other logits" else logits

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.flatten(1))
        return logits


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("no interface", "it has no forward_features and forward_head"),
        ("raises", "computing its embedding fails (no features)"),
        ("a map", "its embedding has shape (4, 1, 8, 8), not one vector per image"),
        ("other logits", "the logits computed from its embedding differ from those of its forward pass"),
    ],
)
def test_a_teacher_without_an_embedding_is_an_error(way: str, reason: str) -> None:
    with pytest.raises(TeacherError) as caught:
        make_teacher(Odd(way), "odd").check_outputs(images(), OutputRequest(embedding=True))
    assert (caught.value.code, caught.value.field) == ("models.output_missing", "teacher.embeddings")
    assert reason in str(caught.value)


def test_a_teacher_without_a_feature_map_is_an_error() -> None:
    teacher = make_teacher(Odd(""), "odd")
    for method in (teacher.outputs, teacher.check_outputs):
        with pytest.raises(TeacherError) as caught:
            method(images(), OutputRequest(depths=(0.5,)))
        assert (caught.value.code, caught.value.field) == ("models.output_missing", "teacher.model")


@pytest.mark.parametrize(("architecture", "arguments"), [("small_resnet", SMALL), ("test_vit", {"img_size": 32})])
def test_to_device_changes_only_the_memory_format(architecture: str, arguments: dict[str, Any]) -> None:
    teacher = make_teacher(make_network(architecture, arguments), architecture, size=32)
    batch, digest = images(size=32), teacher.weights_sha256()
    expected = teacher(batch)
    assert teacher.to_device(torch.device("cpu")) is teacher
    torch.testing.assert_close(teacher(batch), expected, rtol=1e-5, atol=1e-5)
    assert teacher.weights_sha256() == digest
    convolution = next(module for module in teacher.modules() if isinstance(module, nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_it_computes_in_float32_under_autocast() -> None:
    teacher = make_teacher(make_network(), "small_resnet")
    expected = teacher(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(images()), expected)
        outputs = teacher.outputs(images(), OutputRequest(embedding=True, depths=(1.0,)))
    assert torch.equal(outputs.logits, expected)
    assert outputs.maps[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("architecture", "arguments", "features"),
    [
        ("small_resnet", SMALL, (6, 4, 4)),
        ("mobilenetv3_small_050", {}, (288, 1, 1)),
        ("test_convnext", {}, (64, 1, 1)),
        (*SMALL_SWIN, (48, 8, 8)),
        ("test_vit_relpos", {"img_size": 32}, (96, 2, 2)),
        ("dla46_c", {}, (256, 1, 1)),
    ],
)
def test_the_head_maps_the_feature_map_to_the_logits(
    architecture: str, arguments: dict[str, Any], features: tuple[int, int, int]
) -> None:
    size = 8 if architecture == "small_resnet" else 32
    teacher = make_teacher(make_network(architecture, {**arguments, "drop_rate": 0.5}), architecture, size=size)
    digest = teacher.weights_sha256()
    head = teacher.head()
    assert (head.features, head.num_classes) == (features, teacher.num_classes)
    outputs = teacher.outputs(images(size=size), OutputRequest(embedding=True, depths=(1.0,)))
    assert outputs.embedding is not None
    torch.testing.assert_close(head(outputs.maps[0]), outputs.logits)
    torch.testing.assert_close(head(outputs.maps[0], pre_logits=True), outputs.embedding)
    assert teacher.weights_sha256() == digest
    theirs = {parameter.data_ptr() for parameter in teacher.parameters()}
    assert all(parameter.data_ptr() not in theirs for parameter in head.parameters())
    body = copy_body(teacher.network, torch.zeros(1, 1, size, size))
    rest = sum(parameter.numel() for parameter in body.parameters())
    assert sum(p.numel() for p in teacher.parameters()) == rest + sum(p.numel() for p in head.parameters())


def test_the_head_stays_frozen_and_in_eval_mode() -> None:
    head = make_teacher(make_network("small_resnet", {**SMALL, "drop_rate": 0.5}), "small_resnet").head()
    head.train().requires_grad_(True)
    assert not any(module.training for module in head.modules())
    assert not any(parameter.requires_grad for parameter in head.parameters())
    feature_map = torch.rand(2, *head.features, requires_grad=True)
    head(feature_map).square().sum().backward()
    assert feature_map.grad is not None
    assert bool(feature_map.grad.abs().sum() > 0)
    assert torch.equal(head(feature_map), head(feature_map))


@pytest.mark.parametrize(
    ("network", "architecture", "reason"),
    [
        (("test_vit", {"img_size": 32}), "test_vit", "its classifier needs more than the map"),
        (None, "odd", "it has no forward_intermediates, and forward_features does not return a map"),
    ],
)
def test_a_classifier_that_needs_more_than_a_map_is_an_error(
    network: tuple[str, dict[str, Any]] | None, architecture: str, reason: str
) -> None:
    teacher = make_teacher(
        Odd("") if network is None else make_network(*network), architecture, size=32 if network else 8
    )
    with pytest.raises(TeacherError) as caught:
        teacher.head()
    assert (caught.value.code, caught.value.field) == ("models.teacher_head_unusable", "teacher.model")
    assert reason in str(caught.value)


def make_teacher(network: nn.Module, architecture: str, *, size: int = 8) -> Teacher:
    return Teacher(
        network, architecture=architecture, arguments={}, channels=1, image_size=size,
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), image_size=size),
    )  # fmt: skip
