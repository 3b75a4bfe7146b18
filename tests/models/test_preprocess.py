from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from nas_distill.models.preprocess import Preprocess


def rgb(image_size: int | None = None) -> Preprocess:
    return Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), image_size=image_size)


def random_images(count: int, channels: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 9),
    mean=st.tuples(*[st.floats(0.0, 1.0)] * 3),
    std=st.tuples(*[st.floats(0.05, 1.0)] * 3),
)
def test_pixels_are_scaled_and_normalised(
    seed: int, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    images = random_images(2, 3, size, seed)
    found = Preprocess(mean=mean, std=std)(images)
    expected = (images.numpy() / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def test_grey_is_repeated_for_a_network_of_three_channels() -> None:
    images = random_images(2, 1, 5)
    found = rgb()(images)
    assert found.shape == (2, 3, 5, 5)
    assert found.is_contiguous()
    assert torch.equal(found, rgb()(images.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("size", [4, 8, 12, 31])
def test_images_are_resized(size: int) -> None:
    images = random_images(2, 3, 8)
    found = rgb(size)(images)
    assert found.shape == (2, 3, size, size)
    assert found.is_contiguous()
    grey = rgb(size)(images[:, :1])
    assert torch.equal(grey, rgb(size)(images[:, :1].repeat(1, 3, 1, 1)))
    if size == 8:
        assert torch.equal(found, rgb()(images))


@pytest.mark.parametrize("size", [9, 20, 40])
def test_resizing_is_pillow_s_bicubic(size: int) -> None:
    smooth = torch.linspace(40, 200, 20).round()
    images = (0.5 * smooth[:, None] + 0.5 * smooth)[None, None].to(torch.uint8)
    found = Preprocess(mean=(0.0,), std=(1.0,), image_size=size)(images)[0, 0] * 255
    expected = Image.fromarray(images[0, 0].numpy()).resize((size, size), Image.Resampling.BICUBIC)
    assert np.abs(found.numpy() - np.asarray(expected, dtype=np.float32)).max() < 1.0


def test_a_flat_image_stays_flat() -> None:
    images = torch.full((1, 1, 8, 8), 51, dtype=torch.uint8)
    found = Preprocess(mean=(0.1,), std=(0.5,), image_size=13)(images)
    assert torch.allclose(found, torch.full_like(found, 0.2), atol=1e-5)


def test_inputs_are_not_changed_and_outputs_can_be_used_in_training() -> None:
    images = random_images(2, 3, 4)
    kept = images.clone()
    preprocess = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    with torch.inference_mode():
        preprocess(images)
    weight = torch.ones(1, requires_grad=True)
    (preprocess(images) * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert torch.equal(images, kept)
