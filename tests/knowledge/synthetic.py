"""Images that are computed on demand, and a linear teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from nas_distill.data.manifest import DataManifest, SplitSettings
from nas_distill.data.splits import ImageSplit
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher import Teacher

SIZE = 4


class ComputedSplit(ImageSplit):
    """A split of any size that takes no memory: pixels are computed from the positions."""

    def read(self, batches: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        pixels = torch.arange(1, SIZE * SIZE + 1, device=device)
        for positions in batches:
            mixed = (positions.to(device)[:, None] + 1) * pixels * 2_654_435_761
            yield ((mixed >> 16) & 255).to(torch.uint8).reshape(-1, 1, SIZE, SIZE)


class LinearNetwork(nn.Module):
    """The smallest classifier with timm's interface."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(SIZE * SIZE, num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else self.fc(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def make_split(num_images: int, num_classes: int) -> ComputedSplit:
    manifest = DataManifest(
        source="computed",
        class_names=tuple(f"class {number}" for number in range(num_classes)),
        image_size=SIZE,
        channels=1,
        num_train=num_images,
        num_validation=1,
        num_test=1,
        mean=(0.5,),
        std=(0.3,),
        images_cached=False,
        splits=SplitSettings(
            validation_fraction=0.1, test_fraction=0.1, split_seed=0, max_train_images=None, max_validation_images=None
        ),
        content_id="computed",
        data_id=f"computed-{num_images}-{num_classes}",
    )
    return ComputedSplit(manifest, torch.arange(num_images) % num_classes)


def make_teacher(num_classes: int, network: nn.Module | None = None) -> Teacher:
    torch.manual_seed(0)
    return Teacher(
        LinearNetwork(num_classes) if network is None else network,
        architecture="linear",
        arguments={},
        channels=1,
        image_size=SIZE,
        preprocess=Preprocess(mean=(0.5,), std=(0.1,), image_size=SIZE),
    )
