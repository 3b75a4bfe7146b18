"""Views are a pure function of (seed, index, view), checked against a NumPy reference that shares no code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from nas_distill.data.views import geometry
from nas_distill.data.views.affine import draw_maps
from nas_distill.data.views.operations import Operation, apply_to, draw_operations
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import view_bits
from nas_distill.data.views.render import render_rows, render_view
from tests.data.factory import COLOURS, CROPS, EVERYTHING, PHOTOS, WARPS, make_plan, random_images
from tests.data.views import reference_views as reference
from tests.data.views.golden import GOLDEN, golden_digests


def check_against_reference(plan: ViewPlan, channels: int, size: int, view: int) -> None:
    images, indices = random_images(9, channels, size), torch.arange(100, 109)
    rendered = render_view(images, indices, view, plan).numpy()
    assert rendered.dtype == np.uint8
    for index, image, found in zip(indices.tolist(), images.numpy(), rendered, strict=True):
        assert np.array_equal(found, reference.view(image, index, view, plan))


@settings(deadline=None)
@given(
    padding=st.integers(0, 7), flip=st.booleans(), channels=st.sampled_from([1, 3]),
    view=st.integers(0, 50), seed=st.integers(0, 2**64),
)  # fmt: skip
def test_crops_match_padding_slicing_and_reversing(
    padding: int, flip: bool, channels: int, view: int, seed: int
) -> None:
    check_against_reference(make_plan(crop_padding=padding, flip=flip, seed=seed), channels, 8, view)


@settings(deadline=None, max_examples=40)
@given(
    plan=st.builds(
        lambda padding, flip, seed, changes: make_plan(crop_padding=padding, flip=flip, seed=seed, **changes),
        st.integers(0, 3), st.booleans(), st.integers(0, 2**64), st.builds(lambda a, b: {**a, **b}, WARPS, COLOURS),
    ),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([5, 8, 12]),
)  # fmt: skip
def test_views_match_the_reference(plan: ViewPlan, channels: int, size: int) -> None:
    check_against_reference(plan, channels, size, 2)


@settings(deadline=None)
@given(padding=st.integers(0, 7), flip=st.booleans(), channels=st.sampled_from([1, 3]), seed=st.integers(0, 2**64))
def test_the_accelerator_and_cpu_code_paths_crop_the_same_pixels(
    padding: int, flip: bool, channels: int, seed: int
) -> None:
    store, rows = random_images(9, channels), torch.tensor([8, 0, 3, 3])
    plan = make_plan(crop_padding=padding, flip=flip, seed=seed)
    shifts = geometry.draw_shifts(view_bits(rows, 1, seed), plan)
    expected = geometry._crop_by_slices(store, rows, shifts)
    assert torch.equal(geometry._crop_by_gather(store, rows, shifts), expected)


@settings(deadline=None, max_examples=30)
@given(warps=WARPS, colours=COLOURS, channels=st.sampled_from([1, 3]), size=st.sampled_from([8, 13, 28, 32]))
def test_a_view_does_not_depend_on_the_batch(
    warps: Mapping[str, Any], colours: Mapping[str, float], channels: int, size: int
) -> None:
    plan = make_plan(crop_padding=2, **warps, **colours)
    images, indices = random_images(33, channels, size), torch.arange(33)
    together = render_view(images, indices, 3, plan)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(render_view(images[order], indices[order], 3, plan), together[order])
    assert torch.equal(render_rows(images, order, order, 3, plan), together[order])
    control = [render_view(images[i : i + 1], indices[i : i + 1], 3, plan) for i in range(33)]
    assert torch.equal(torch.cat(control), together)
    parts = [render_view(images[i : i + 7], indices[i : i + 7], 3, plan) for i in range(0, 33, 7)]
    assert torch.equal(torch.cat(parts), together)


def test_large_images_are_rendered_in_chunks() -> None:
    images, indices = random_images(7, size=300), torch.arange(7)
    together = render_view(images, indices, 0, EVERYTHING)
    control = [render_view(images[i : i + 1], indices[i : i + 1], 0, EVERYTHING) for i in range(7)]
    assert torch.equal(torch.cat(control), together)


@settings(deadline=None, max_examples=40)
@given(
    area=st.sampled_from([0.05, 0.4, 1.0]), aspect=st.sampled_from([1.0, 1.33, 4.0]), scale=st.sampled_from([0.0, 0.9]),
    padding=st.integers(0, 3), size=st.sampled_from([5, 8, 13, 32]),
)  # fmt: skip
def test_resampling_by_axis_equals_resampling_by_position(
    area: float, aspect: float, scale: float, padding: int, size: int
) -> None:
    plan = make_plan(crop_padding=padding, min_crop_area=area, crop_aspect=aspect, scale=scale)
    images, indices = random_images(9, 3, size), torch.arange(9)
    bits = view_bits(indices, 1, plan.seed)
    shifts = geometry.draw_shifts(bits, plan)
    terms = geometry._position_terms(draw_maps(bits, plan, (size, size)), shifts, (size, size))
    assert torch.equal(geometry._by_axis(images, terms), geometry._by_position(images, terms))


def test_a_resized_crop_shows_a_part_of_the_image() -> None:
    # A ramp in each direction: the first and last pixels of the view say where the crop begins and ends.
    size, count = 65, 400
    ramp = torch.arange(0, 4 * size, 4, dtype=torch.float32).clamp_max(255).to(torch.uint8)
    images = torch.stack((ramp.expand(size, size), ramp[:, None].expand(size, size), ramp.expand(size, size)))
    views = render_view(images.expand(count, 3, size, size), torch.arange(count), 0, CROPS).to(torch.float64)
    across, along = views[:, 0].amax(2)[:, 0] - views[:, 0].amin(2)[:, 0], views[:, 1].amax(1) - views[:, 1].amin(1)
    width, height = across / 255, along[:, 0] / 255
    area = width * height
    assert area.min() > 0.49
    assert 0.7 < area.mean() < 0.78
    assert ((width / height).log().abs() < np.log(1.36)).all()
    assert (views[:, 0].amin((1, 2)) > 20).any()


@pytest.mark.parametrize("operation", list(Operation)[1:])
def test_operations_match_pillow(operation: Operation) -> None:
    plan = make_plan(crop_padding=0, flip=False, strength=0.5, operations=1)
    smooth = (128 + 60 * torch.sin(torch.arange(32) / 4)[:, None] + 60 * torch.cos(torch.arange(32) / 3)).round()
    pixels = torch.stack((smooth, smooth.T.flip(0), 255 - smooth)).to(torch.uint8)
    indices = torch.arange(60)
    rendered = render_view(pixels.expand(60, 3, 32, 32), indices, 0, plan)
    drawn = draw_operations(view_bits(indices, 0, plan.seed), plan)
    chosen = drawn.chosen(operation).nonzero()[:, 0].tolist()
    assert 0 < len(chosen) < 20
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    for index in chosen:
        sign = int(drawn.signed(operation, 1)[index])
        expected = np.asarray(pillow_operation(image, operation, 0.5, sign)).transpose(2, 0, 1).astype(int)
        difference = np.abs(rendered[index].numpy() - expected)
        assert np.median(difference) <= 1
        assert difference[:, 10:22, 10:22].max() <= 4


def pillow_operation(image: Image.Image, operation: Operation, strength: float, sign: int) -> Image.Image:
    """Return what torchvision's `RandAugment` does at this strength."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    maps = {
        Operation.ROTATE: lambda: affine(
            tensor, sign * 30 * strength, [0, 0], 1, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
        ),
        Operation.SHEAR: lambda: affine(
            tensor, 0, [0, 0], 1, [sign * float(np.rad2deg(np.arctan(0.3 * strength))), 0.0],
            interpolation=InterpolationMode.BILINEAR,
        ),
        Operation.SHIFT_ACROSS: lambda: affine(tensor, 0, [-sign * round(0.45 * strength * 32), 0], 1, [0.0, 0.0]),
        Operation.SHIFT_ALONG: lambda: affine(tensor, 0, [0, -sign * round(0.45 * strength * 32)], 1, [0.0, 0.0]),
    }  # fmt: skip
    if operation in maps:
        return Image.fromarray(maps[operation]().round().to(torch.uint8).permute(1, 2, 0).numpy())
    changes = {
        Operation.BRIGHTNESS: lambda: ImageEnhance.Brightness(image).enhance(1 + sign * 0.9 * strength),
        Operation.CONTRAST: lambda: ImageEnhance.Contrast(image).enhance(1 + sign * 0.9 * strength),
        Operation.SATURATION: lambda: ImageEnhance.Color(image).enhance(1 + sign * 0.9 * strength),
        Operation.POSTERISE: lambda: ImageOps.posterize(image, 8 - round(4 * strength)),
        Operation.SOLARISE: lambda: ImageOps.solarize(image, 256 - round(256 * strength)),
        Operation.AUTOCONTRAST: lambda: ImageOps.autocontrast(image),
    }
    return changes[operation]()


def test_selecting_views_on_a_cpu_equals_computing_all() -> None:
    pixels, chosen = random_images(6).float(), torch.tensor([True, False, True, True, False, False])
    factors = torch.arange(6.0)[:, None, None, None] / 8
    on_cpu = apply_to(pixels.clone(), chosen, lambda some, rows: some.mul_(factors[rows]))
    assert torch.equal(on_cpu, torch.where(chosen[:, None, None, None], pixels * factors, pixels))


def test_a_turned_hue_keeps_grey_and_moves_red_towards_green() -> None:
    plan = make_plan(crop_padding=0, flip=False, hue=1 / 3)
    grey = torch.full((20, 3, 4, 4), 77, dtype=torch.uint8)
    assert torch.equal(render_view(grey, torch.arange(20), 0, plan), grey)
    red = torch.zeros(400, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 200
    turned = render_view(red, torch.arange(400), 0, plan)[:, :, 0, 0].float()
    # A third of a turn changes red into another primary colour.
    assert turned.max(dim=0).values.min() > 190


@pytest.mark.parametrize("threads", [1, 2])
def test_views_never_change(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert golden_digests() == GOLDEN
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_views_do_not_depend_on_the_processor(capability: str) -> None:
    # Makes PyTorch use its kernels for CPUs without vector instructions, or with AVX2 only.
    code = "from tests.data.views.golden import GOLDEN, golden_digests; assert golden_digests() == GOLDEN"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("plan", [make_plan(crop_padding=3, seed=2**63 + 5), EVERYTHING, PHOTOS, CROPS])
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28), (3, 96)])
def test_a_view_does_not_depend_on_the_device(plan: ViewPlan, channels: int, size: int) -> None:
    images, indices = random_images(64, channels, size), torch.arange(64) * 1_000_003
    on_device = render_view(images.cuda(), indices.cuda(), 2, plan)
    assert torch.equal(on_device.cpu(), render_view(images, indices, 2, plan))


def test_shifts_and_flips_are_uniform() -> None:
    plan = make_plan(count=1, seed=0)
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
    plan = make_plan(crop_padding=3)
    first = render_view(images, indices, 0, plan)
    assert not torch.equal(first, render_view(images, indices, 1, plan))
    assert not torch.equal(first, render_view(images, indices, 0, plan.model_copy(update={"seed": 1})))


def test_an_identity_plan_returns_the_images_themselves() -> None:
    images = random_images(4)
    assert render_view(images, torch.arange(4), 0, make_plan(crop_padding=0, flip=False)) is images


def test_warps_match_torchvision() -> None:
    plan = make_plan(crop_padding=0, flip=False, rotate_degrees=40, scale=0.4, shear_degrees=20)
    size, count = 32, 20
    smooth = (128 + 60 * torch.sin(torch.arange(size) / 4)[:, None] + 60 * torch.cos(torch.arange(size) / 3)).round()
    images = smooth.to(torch.uint8).expand(count, 3, size, size).contiguous()
    rendered = render_view(images, torch.arange(count), 0, plan).float()
    for index, bits in enumerate(reference.hashed(np.arange(count), 0, plan.seed).tolist()):
        degrees, zoom, shear = reference.warp_strengths(bits, plan)
        expected = affine(
            images[index].float(), degrees, [0, 0], zoom, [shear, 0.0], interpolation=InterpolationMode.BILINEAR
        )
        difference = (rendered[index] - expected).abs()
        # Both blend the border with black; positions rounded to 1/256 pixel differ most there.
        assert difference.median() <= 0.6
        assert difference.max() <= 3


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_match_pillow(name: str) -> None:
    plan = make_plan(crop_padding=0, flip=False, **{name: 1.0})
    enhance = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
    images, indices = random_images(30, size=16), torch.arange(30)
    rendered = render_view(images, indices, 0, plan).numpy().astype(int)
    factors = []
    for index, bits in enumerate(reference.hashed(indices.numpy(), 0, plan.seed).tolist()):
        factors.append(dict(zip(enhance, reference.colour_factors(bits, plan), strict=True))[name])
        image = Image.fromarray(images[index].permute(1, 2, 0).numpy())
        expected = np.asarray(enhance[name](image).enhance(factors[-1])).transpose(2, 0, 1)
        # Pillow truncates, we round.
        assert np.abs(rendered[index] - expected.astype(int)).max() <= 1
    assert min(factors) < 0.3
    assert max(factors) > 1.7


@pytest.mark.parametrize("name", ["rotate_degrees", "scale", "shear_degrees"])
def test_strengths_are_uniform(name: str) -> None:
    plan = make_plan(**{name: 0.5})
    hashes = reference.hashed(np.arange(4000), 1, plan.seed).tolist()
    place = ("rotate_degrees", "scale", "shear_degrees").index(name)
    drawn = np.array([reference.warp_strengths(bits, plan)[place] for bits in hashes]) - (name == "scale")
    counts, _ = np.histogram(drawn, bins=10, range=(-0.5, 0.5))
    assert counts.sum() == 4000
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001


def test_views_made_in_inference_mode_and_outside_are_the_same() -> None:
    plan = EVERYTHING.model_copy(update={"rotate_degrees": 7.0, "contrast": 0.11})
    images, indices = random_images(4), torch.arange(4)
    with torch.inference_mode():
        inside = render_view(images, indices, 0, plan)
    assert torch.equal(render_view(images, indices, 0, plan), inside.clone())


def test_rendering_does_not_modify_the_images() -> None:
    images = random_images(4)
    before = images.clone()
    render_view(images, torch.arange(4), 0, EVERYTHING)
    render_view(images, torch.arange(4), 0, make_plan(crop_padding=0, flip=False, brightness=0.5))
    assert torch.equal(images, before)
