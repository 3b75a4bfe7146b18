from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_distill.models.student import build_student
from nas_distill.records import StudentSpec
from nas_distill.train.calibration.classifier import multiply_logits
from tests.models.networks import make_network
from tests.models.test_features import SMALL_VIT
from tests.models.test_teacher_network import make_teacher

IMAGES = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def logits_of(network: nn.Module) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network.eval()(IMAGES)
    return logits


def check_multiplied(network: nn.Module, factor: float) -> None:
    before = logits_of(network)
    assert multiply_logits(network, factor, IMAGES[:2])
    after = logits_of(network)
    assert (after - factor * before).abs().max() <= 1e-5 * (factor * before).abs().max()
    assert torch.equal(after.argmax(1), before.argmax(1))


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("small_resnet", {"widths": (4, 6), "depths": (1, 1)}),
        SMALL_VIT,
        ("test_convnext", {}),  # normalisation, pooling and a linear layer
        ("mobilenetv3_small_050", {}),  # a convolution before the classifier
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 2}),
        ("caformer_s18", {}),  # two linear layers
    ],
)
def test_logits_are_multiplied_exactly(architecture: str, arguments: dict[str, Any]) -> None:
    network = make_network(architecture, arguments)
    check_multiplied(network, 20.0)
    check_multiplied(network, 0.3)


def test_the_teachers_classifier_in_a_student_is_multiplied_and_the_teacher_is_not() -> None:
    head = make_teacher(make_network("small_resnet"), "small_resnet", size=32).head()
    before = [tensor.clone() for tensor in head.parameters()]
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 6), "depths": (1, 1)})
    check_multiplied(build_student(spec, num_classes=3, channels=1, image_size=32, teacher_head=head), 20.0)
    assert all(torch.equal(*pair) for pair in zip(before, head.parameters(), strict=True))


class Cosine(nn.Module):
    """A network whose logits do not depend on the length of its classifier's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1024, 3)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return functional.normalize(logits, dim=1)


class Headless(nn.Sequential):
    """A network without timm's interface."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(1024, 3))


@pytest.mark.parametrize("kind", [Cosine, Headless])
def test_a_network_whose_logits_cannot_be_multiplied_is_unchanged(kind: type[nn.Module]) -> None:
    network = kind()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not multiply_logits(network, 20.0, IMAGES[:2])
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
