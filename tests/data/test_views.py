"""Views are a pure function of (seed, index, view), checked against a NumPy reference in uint64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas_distill.config import ViewsConfig
from nas_distill.data.manifest import DataManifest, SplitSettings
from nas_distill.data.views import ViewPlan, plan_views, render_view, view_bits
from nas_distill.errors import ConfigError

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def reference_splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        bits = state + GOLDEN
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))


def reference_bits(indices: NDArray[np.int64], view: int, seed: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        key = reference_splitmix(np.array([seed % 2**64], dtype=np.uint64))
        key = reference_splitmix(key + indices.astype(np.uint64))
        return reference_splitmix(key + np.uint64(view))


def reference_view(
    images: NDArray[np.uint8], indices: NDArray[np.int64], view: int, plan: ViewPlan
) -> NDArray[np.uint8]:
    """One image at a time, by padding, slicing and reversing."""
    pad, size = plan.crop_padding, images.shape[-1]
    rendered = np.empty_like(images)
    for row, bits in enumerate(reference_bits(indices, view, plan.seed).tolist()):
        top = ((bits & 0xFFFFFF) * (2 * pad + 1)) >> 24
        left = (((bits >> 24) & 0xFFFFFF) * (2 * pad + 1)) >> 24
        padded = np.pad(images[row], ((0, 0), (pad, pad), (pad, pad)))
        crop = padded[:, top : top + size, left : left + size]
        rendered[row] = crop[:, :, ::-1] if plan.flip and bits >> 63 else crop
    return rendered


def random_images(count: int, channels: int = 3, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(1, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def manifest(*, image_size: int = 32, channels: int = 3) -> DataManifest:
    return DataManifest(
        source="digits", class_names=("a", "b"), image_size=image_size, channels=1 if channels == 1 else 3,
        resize=False, num_train=8, num_validation=4, num_test=4, in_memory=True, content_id="c", data_id="d",
        mean=(0.5,) * channels, std=(0.2,) * channels,
        splits=SplitSettings(
            validation_fraction=0.2, test_fraction=0.2, split_seed=0, max_train_images=None,
            max_validation_images=None,
        ),
    )  # fmt: skip


def test_splitmix_starts_with_the_published_sequence() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, from Vigna's reference (splitmix64.c).
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    state = np.uint64(1234567)
    with np.errstate(over="ignore"):
        states = np.array([state + np.uint64(step) * GOLDEN for step in range(3)], dtype=np.uint64)
    assert reference_splitmix(states).tolist() == expected


@given(
    indices=st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    view=st.integers(0, 2**31),
    seed=st.integers(0, 2**70),
)
def test_bits_are_those_of_unsigned_arithmetic(indices: list[int], view: int, seed: int) -> None:
    bits = view_bits(torch.tensor(indices), view, seed)
    expected = reference_bits(np.array(indices, dtype=np.int64), view, seed)
    assert bits.numpy().view(np.uint64).tolist() == expected.tolist()


@settings(deadline=None)
@given(
    padding=st.integers(0, 7), flip=st.booleans(), channels=st.sampled_from([1, 3]),
    view=st.integers(0, 50), seed=st.integers(0, 2**64),
)  # fmt: skip
def test_views_are_those_of_padding_slicing_and_reversing(
    padding: int, flip: bool, channels: int, view: int, seed: int
) -> None:
    plan = ViewPlan(count=51, crop_padding=padding, flip=flip, seed=seed)
    images = random_images(9, channels)
    indices = torch.arange(100, 109)
    expected = reference_view(images.numpy(), indices.numpy(), view, plan)
    assert np.array_equal(render_view(images, indices, view, plan).numpy(), expected)


def test_a_view_does_not_depend_on_the_batch() -> None:
    plan = ViewPlan(count=4, crop_padding=2, flip=True, seed=1)
    images, indices = random_images(32), torch.arange(32)
    together = render_view(images, indices, 3, plan)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(render_view(images[order], indices[order], 3, plan), together[order])
    alone = [render_view(images[i : i + 1], indices[i : i + 1], 3, plan) for i in range(32)]
    assert torch.equal(torch.cat(alone), together)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_view_does_not_depend_on_the_device() -> None:
    plan = ViewPlan(count=4, crop_padding=3, flip=True, seed=2**63 + 5)
    images, indices = random_images(64, size=32), torch.arange(64) * 1_000_003
    on_device = render_view(images.cuda(), indices.cuda(), 2, plan)
    assert torch.equal(on_device.cpu(), render_view(images, indices, 2, plan))


def test_every_shift_and_both_mirrors_come_equally_often() -> None:
    plan = ViewPlan(count=1, crop_padding=1, flip=True, seed=0)
    count = 18_000
    images = torch.zeros(count, 1, 4, 4, dtype=torch.uint8)
    images[:, :, 1, 1] = 255
    places = render_view(images, torch.arange(count), 0, plan).flatten(1).argmax(dim=1)
    counts = torch.bincount(places, minlength=16)
    # The pixel at (1, 1) goes to rows 0-2, and to columns 0-2 as it is or 1-3 mirrored.
    share = counts.reshape(4, 4)[:3].double() / count
    expected = torch.tensor([1, 2, 2, 1]).double() / 18
    assert torch.allclose(share, expected.expand(3, 4), atol=0.01)
    assert counts.reshape(4, 4)[3].sum() == 0


def test_views_and_seeds_differ() -> None:
    images, indices = random_images(16), torch.arange(16)
    plan = ViewPlan(count=4, crop_padding=3, flip=True, seed=0)
    first = render_view(images, indices, 0, plan)
    assert not torch.equal(first, render_view(images, indices, 1, plan))
    assert not torch.equal(first, render_view(images, indices, 0, plan.model_copy(update={"seed": 1})))


def test_a_plan_that_changes_nothing_returns_the_images_themselves() -> None:
    images = random_images(4)
    assert render_view(images, torch.arange(4), 0, ViewPlan(count=1, crop_padding=0, flip=False, seed=0)) is images


@pytest.mark.parametrize(
    ("epochs", "online", "count"),
    [(1, False, 1), (12, False, 8), (24, False, 8), (25, False, 16), (99, False, 40), (9, True, 9)],
)  # fmt: skip
def test_the_default_number_of_views(epochs: int, online: bool, count: int) -> None:
    assert plan_views(ViewsConfig(), manifest(), epochs=epochs, online=online).count == count


def test_a_given_number_of_views_is_kept_online_too() -> None:
    assert plan_views(ViewsConfig(count=5), manifest(), epochs=100, online=True).count == 5


def test_defaults_follow_the_images() -> None:
    colour = plan_views(ViewsConfig(), manifest(image_size=32), epochs=1, online=False)
    grey = plan_views(ViewsConfig(), manifest(image_size=8, channels=1), epochs=1, online=False)
    assert (colour.crop_padding, colour.flip) == (4, True)
    assert (grey.crop_padding, grey.flip) == (1, False)
    asked = plan_views(ViewsConfig(crop_padding=0, flip=True), manifest(channels=1), epochs=1, online=False)
    assert (asked.crop_padding, asked.flip) == (0, True)


def test_padding_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"views\.crop_padding: 32 can shift .* at most 31"):
        plan_views(ViewsConfig(crop_padding=32), manifest(), epochs=1, online=False)
