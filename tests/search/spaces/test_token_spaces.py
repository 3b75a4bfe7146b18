"""Geometry of the spaces whose networks split images into patches, for many image sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.models.student import build_student
from nas_distill.records import SpaceContext, StudentSpec
from search_spaces.families import convnext, mixer, swin, vit
from search_spaces.families.patches import grid_side, patch_sizes
from tests.helpers import make_space_context

BUILT_SIZES = (8, 97, 100)
SIZES = range(8, 385, 7)
SPACES = {"convnext": convnext.space, "mixer": mixer.space, "swin": swin.space, "vit": vit.space}

Function = Callable[[Any, SpaceContext], StudentSpec]


def candidates(family: str, image_size: int) -> Iterator[tuple[int, StudentSpec]]:
    """Return each patch size of a space for an image size, with a random candidate that has it."""
    function: Function = SPACES[family]
    context = make_space_context(channels=3, image_size=image_size)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=image_size))
    first = study.ask()
    function(first, context)
    for patch in first.distributions[f"{family}_patch"].choices:  # type: ignore[attr-defined]
        study.enqueue_trial({f"{family}_patch": patch, f"{family}_depth": 1})
        yield patch, function(study.ask(), context)


@pytest.mark.parametrize("family", list(SPACES))
def test_every_patch_size_gives_networks_that_process_the_images(family: str) -> None:
    for size in BUILT_SIZES:
        logits = {}
        for patch, spec in candidates(family, size):
            network = build_student(spec, num_classes=10, channels=3, image_size=size, device="meta")
            logits[patch] = network(torch.zeros(2, 3, size, size, device="meta")).shape
        assert set(logits.values()) == {(2, 10)}, size


@pytest.mark.parametrize(("family", "fewest", "most"), [("mixer", 4, 16), ("vit", 4, 16), ("swin", 8, 56)])
def test_grids_of_patches_have_the_stated_number_per_side(family: str, fewest: int, most: int) -> None:
    for size in SIZES:
        for patch, _ in candidates(family, size):
            assert fewest <= grid_side(size, patch) <= most, (size, patch)


def test_the_last_stage_of_a_convnext_has_two_to_twelve_positions_per_side() -> None:
    for size in SIZES[2:]:
        for patch, _ in candidates("convnext", size):
            assert 2 <= size // patch // 8 <= 12, (size, patch)


def test_swin_has_a_window_that_divides_every_stage_where_one_exists() -> None:
    for size, windows in ((32, (4, 8)), (96, (4, 6, 8)), (100, (5,)), (224, (7,))):
        for patch, spec in candidates("swin", size):
            window, sides = spec.arguments["window_size"], [grid_side(size, patch)]
            for _ in spec.arguments["depths"][1:]:
                sides.append(-(-sides[-1] // 2))
            assert sides[-1] >= 4
            if any(all(side % choice == 0 or side < choice for side in sides) for choice in windows):
                assert all(side % window == 0 or side < window for side in sides), (size, patch, window)


@given(size=st.integers(1, 1000), fewest=st.integers(1, 16), more=st.integers(0, 64))
def test_patches_divide_the_image_or_cover_it_with_less_than_one_patch_of_padding(
    size: int, fewest: int, more: int
) -> None:
    patches = patch_sizes(size, fewest=fewest, most=fewest + more)
    assert patches
    assert patches == tuple(sorted(set(patches)))
    for patch in patches:
        assert 0 <= patch * grid_side(size, patch) - size < patch
        assert grid_side(size, patch) <= fewest + more
