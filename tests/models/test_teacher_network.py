"""The teacher's embedding, its memory layout, and its answers in float32 whatever surrounds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas_distill.errors import TeacherError
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher import Teacher
from tests.models.test_teacher import SMALL, images, make_network


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
def test_the_embedding_leads_to_the_logits(architecture: str, arguments: dict[str, Any], size: int, width: int) -> None:
    teacher = make_teacher(make_network(architecture, arguments), architecture, size=size)
    batch = images(size=size)
    assert teacher.check_embedding(batch) == width
    logits, embedding = teacher.answer_with_embedding(batch)
    assert (logits.dtype, embedding.dtype, tuple(embedding.shape)) == (torch.float32, torch.float32, (4, width))
    assert not embedding.requires_grad
    torch.testing.assert_close(logits, teacher(batch), rtol=1e-4, atol=1e-4)


class Odd(nn.Module):
    """Gives an embedding that is none, in one way or another."""

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
        ("raises", "asking for its embedding fails (no features)"),
        ("a map", "its embedding has shape (4, 1, 8, 8), not one vector per image"),
        ("other logits", "the logits that follow from its embedding are not those of its forward pass"),
    ],
)
def test_a_teacher_without_an_embedding_is_told(way: str, reason: str) -> None:
    with pytest.raises(TeacherError) as caught:
        make_teacher(Odd(way), "odd").check_embedding(images())
    assert str(caught.value).startswith(f"teacher.embeddings: odd gives no embedding: {reason}; set teacher.embeddings")


@pytest.mark.parametrize(("architecture", "arguments"), [("small_resnet", SMALL), ("test_vit", {"img_size": 32})])
def test_settling_changes_the_layout_and_nothing_else(architecture: str, arguments: dict[str, Any]) -> None:
    teacher = make_teacher(make_network(architecture, arguments), architecture, size=32)
    batch, digest = images(size=32), teacher.weights_sha256()
    expected = teacher(batch)
    assert teacher.settle(torch.device("cpu")) is teacher
    torch.testing.assert_close(teacher(batch), expected, rtol=1e-5, atol=1e-5)
    assert teacher.weights_sha256() == digest
    convolution = next(module for module in teacher.modules() if isinstance(module, nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_it_answers_in_float32_whatever_surrounds_it() -> None:
    teacher = make_teacher(make_network(), "small_resnet")
    expected = teacher(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(images()), expected)
        assert torch.equal(teacher.answer_with_embedding(images())[0], expected)


def make_teacher(network: nn.Module, architecture: str, *, size: int = 8) -> Teacher:
    return Teacher(
        network, architecture=architecture, arguments={}, channels=1, image_size=size,
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), image_size=size),
    )  # fmt: skip
