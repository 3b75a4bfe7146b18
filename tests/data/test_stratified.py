"""Stratified folds and subsamples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_distill.data.stratified import check_k_folds, k_folds, subsample
from nas_distill.errors import ConfigError


@st.composite
def labels_and_counts(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Draw shuffled labels, with enough images of every class that occurs, and a number of folds."""
    count = draw(st.integers(2, 6))
    sizes = draw(st.lists(st.one_of(st.just(0), st.integers(count, 25)), min_size=1, max_size=6).filter(any))
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return labels[order], count


@settings(max_examples=60, deadline=None)
@given(labels_and_counts(), st.integers(0, 2**32 - 1))
def test_folds_cover_every_image_once_and_balance_the_classes(case: tuple[Tensor, int], seed: int) -> None:
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


def test_other_seeds_give_other_folds() -> None:
    labels = torch.arange(200) % 4
    held = {tuple(k_folds(labels, 5, seed)[0].tolist()) for seed in range(10)}
    assert len(held) == 10


@pytest.mark.parametrize(("sizes", "count"), [((9, 3, 7), 4), ((9, 0, 1), 2)])
def test_a_class_with_fewer_images_than_folds_is_rejected(sizes: tuple[int, ...], count: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    for check in (lambda: k_folds(labels, count, 0), lambda: check_k_folds(labels, count)):
        with pytest.raises(ConfigError) as caught:
            check()
        assert (caught.value.code, caught.value.field) == ("data.too_few_images_for_folds", "picks.folds")
    check_k_folds(labels, min(size for size in sizes if size))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(0, 2**32), st.data())
def test_subsamples_hold_every_class_and_are_nested(sizes: list[int], seed: int, data: st.DataObject) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    positions = np.arange(len(labels))
    small = data.draw(st.integers(len(sizes), len(labels)))
    large = data.draw(st.integers(small, len(labels)))
    few, many = (subsample(positions, labels, size, seed) for size in (small, large))
    assert len(set(few.tolist())) == small
    assert set(few.tolist()) <= set(many.tolist())
    assert set(labels[few].tolist()) == set(labels.tolist())
    expected = np.array(sizes) * small / len(labels)
    # The first image of each class comes first, so rare classes may have up to one image more than their share.
    assert (np.bincount(labels[few], minlength=len(sizes)) - expected).max() <= 1.0 + 1e-9
