"""Synthetic images, manifests and view plans."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from nas_distill.data.manifest import DataManifest, SplitSettings
from nas_distill.data.splits import MemorySplit
from nas_distill.data.views.plan import ViewPlan

CPU = torch.device("cpu")


def random_images(count: int, channels: int = 3, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(1, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def make_manifest(*, image_size: int = 32, channels: int = 3, classes: int = 2, images: int = 8) -> DataManifest:
    return DataManifest(
        source="digits", class_names=tuple(f"class {number}" for number in range(classes)), image_size=image_size,
        channels=1 if channels == 1 else 3, num_train=images, num_validation=4, num_test=4,
        mean=(0.5,) * channels, std=(0.2,) * channels, images_cached=True, content_id="c", data_id="d",
        splits=SplitSettings(
            validation_fraction=0.2, test_fraction=0.2, split_seed=0, max_train_images=None,
            max_validation_images=None,
        ),
    )  # fmt: skip


def memory_split(count: int, channels: int = 3, size: int = 8, classes: int = 5) -> MemorySplit:
    manifest = make_manifest(image_size=size, channels=channels, classes=classes, images=count)
    return MemorySplit(manifest, torch.arange(count) * 7 % classes, random_images(count, channels, size))


def make_plan(**changes: Any) -> ViewPlan:
    return ViewPlan(**{"count": 8, "crop_padding": 1, "flip": True, "seed": 3} | changes)


EVERYTHING = make_plan(
    rotate_degrees=20, scale=0.3, shear_degrees=10, brightness=0.4, contrast=0.5, saturation=0.6, mix="cutmix"
)
"""A plan in which every pixel augmentation is on."""

PHOTOS = make_plan(crop_padding=0, min_crop_area=0.3, crop_aspect=1.5, hue=0.2, strength=0.7, operations=3)
"""A plan with all augmentations for photos."""

CROPS = make_plan(crop_padding=0, min_crop_area=0.5)
"""The default for photos."""

WARPS = st.fixed_dictionaries(
    {
        "min_crop_area": st.sampled_from([1.0, 0.5, 0.05]),
        "strength": st.sampled_from([0.0, 0.0, 0.4, 1.0]),
        "operations": st.sampled_from([1, 2, 5]),
        "rotate_degrees": st.sampled_from([0.0, 15.0, 180.0]),
        "scale": st.sampled_from([0.0, 0.25, 0.9]),
        "shear_degrees": st.sampled_from([0.0, 8.0, 60.0]),
    }
)
COLOURS = st.fixed_dictionaries(
    {
        "hue": st.sampled_from([0.0, 0.1, 0.5]),
        **{name: st.sampled_from([0.0, 0.3, 1.0]) for name in ("brightness", "contrast", "saturation")},
    }
)
MIXES = st.fixed_dictionaries(
    {
        "mix": st.sampled_from(["mixup", "cutmix"]),
        "mix_alpha": st.sampled_from([0.2, 1.0, 3.0]),
        "mix_share": st.sampled_from([0.3, 1.0]),
    }
)
