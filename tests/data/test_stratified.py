from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_distill.data.stratified import check_k_folds, k_folds
from nas_distill.errors import ConfigError


@st.composite
def labels_and_counts(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Shuffled labels in which every class that occurs has enough images; some numbers of classes do not occur."""
    count = draw(st.integers(2, 6))
    sizes = draw(st.lists(st.one_of(st.just(0), st.integers(count, 25)), min_size=1, max_size=6).filter(any))
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return labels[order], count


@settings(max_examples=60, deadline=None)
@given(labels_and_counts(), st.integers(0, 2**32 - 1))
def test_parts_hold_every_image_once_and_every_class_evenly(case: tuple[Tensor, int], seed: int) -> None:
    labels, count = case
    found = k_folds(labels, count, seed)
    assert len(found) == count
    assert all(part.dtype == torch.int64 and torch.equal(part, part.sort().values) for part in found)
    assert torch.equal(torch.cat(found).sort().values, torch.arange(len(labels)))
    per_class = torch.stack([torch.bincount(labels[part], minlength=int(labels.max()) + 1) for part in found])
    assert int((per_class.amax(0) - per_class.amin(0)).max()) <= 1
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert all(torch.equal(one, other) for one, other in zip(found, k_folds(labels, count, seed), strict=True))


def test_other_seeds_part_otherwise() -> None:
    labels = torch.arange(200) % 4
    held = {tuple(k_folds(labels, 5, seed)[0].tolist()) for seed in range(10)}
    assert len(held) == 10


@pytest.mark.parametrize(
    ("sizes", "count", "way_out"),
    [
        ((9, 3, 7), 4, "class number 1 has 3; give at most 3"),
        ((9, 0, 1), 2, "class number 2 has 1; leave --folds out, or give it more images"),
    ],
)
def test_a_class_with_too_few_images_is_told(sizes: tuple[int, ...], count: int, way_out: str) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    for rejected in (lambda: k_folds(labels, count, 0), lambda: check_k_folds(labels, count)):
        with pytest.raises(ConfigError) as caught:
            rejected()
        assert str(caught.value) == (
            f"picks.folds: {count} folds need {count} training images of every class, and {way_out}"
        )
    check_k_folds(labels, min(size for size in sizes if size))
