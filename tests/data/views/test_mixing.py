"""Partners, shares and boxes of mixup and CutMix: distributions, pixels and labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, chisquare

from nas_distill.data.views import mixing
from nas_distill.data.views.mixing import draw_partners, mix_views, mixed_targets
from nas_distill.data.views.random_bits import view_bits
from tests.data.factory import MIXES, make_plan, random_images

MANY = torch.arange(20_000)
BITS = view_bits(MANY, 0, 3)


def black_and_white(size: int = 16, count: int = len(MANY)) -> tuple[torch.Tensor, torch.Tensor]:
    black = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    return black, torch.full_like(black, 255)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    _, share = mix_views(*black_and_white(1), BITS, make_plan(mix="mixup", mix_alpha=alpha))
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    # The ends are left out: Beta(0.2, 0.2) has much of its mass there, and shares are rounded to 1/65536.
    points = np.linspace(0.001, 0.999, 500)
    empirical = np.searchsorted(np.sort(share.numpy()), points, side="right") / len(share)
    assert np.abs(empirical - beta(alpha, alpha).cdf(points)).max() < 0.015


@pytest.mark.parametrize("alpha", [1e-3, 1e-8, 1e6])
def test_extreme_strengths_are_still_shares(alpha: float) -> None:
    for mix in ("mixup", "cutmix"):
        _, share = mix_views(*black_and_white(4), BITS, make_plan(mix=mix, mix_alpha=alpha))
        assert bool(((share >= 0) & (share <= 1)).all())
        assert 0.3 < share.mean() < 0.9


def test_partners_are_evenly_spread() -> None:
    partners = draw_partners(MANY, BITS, make_plan(mix="mixup"), 40)
    assert chisquare(torch.bincount(partners, minlength=40).numpy()).pvalue > 0.001
    # Partner and share are independent.
    _, share = mix_views(*black_and_white(1), BITS, make_plan(mix="mixup"))
    assert abs(np.corrcoef(partners.numpy(), share.numpy())[0, 1]) < 0.03


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_mix_share_is_the_fraction_of_mixed_images(mix: str, share: float) -> None:
    plan = make_plan(mix=mix, mix_share=share)
    own, other = black_and_white()
    images, weight = mix_views(own, other, BITS, plan)
    partners = draw_partners(MANY, BITS, plan, 10**9)
    is_mixed = partners != MANY
    assert is_mixed.double().mean() == pytest.approx(share, abs=0.015)
    assert torch.equal(images[~is_mixed], own[~is_mixed])
    assert bool((weight[~is_mixed] == 1).all())


def test_partners_change_with_view_and_seed() -> None:
    plan = make_plan(mix="cutmix")
    drawn = [draw_partners(MANY, view_bits(MANY, view, seed), plan, 1000) for view, seed in ((0, 0), (1, 0), (0, 1))]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (drawn[one] == drawn[other]).double().mean() < 0.01


@pytest.mark.parametrize("size", [5, 16, 28])
def test_label_shares_equal_pixel_shares(size: int) -> None:
    own, other = black_and_white(size, 2000)
    images, share = mix_views(own, other, BITS[:2000], make_plan(mix="cutmix"))
    assert torch.equal(share, (images == 0).double().mean(dim=(1, 2, 3)).float())
    rows, columns = (images == 255).any(3)[:, 0].sum(1), (images == 255).any(2)[:, 0].sum(1)
    assert torch.equal((images == 255).sum(dim=(1, 2, 3)), rows * columns)


def test_boxes_cover_the_whole_image() -> None:
    images, _ = mix_views(*black_and_white(8), BITS, make_plan(mix="cutmix"))
    covered = (images == 255).double().mean(dim=(0, 1))
    assert torch.allclose(covered, covered.T, atol=0.02)
    # A box reaches from -half to half - 1 of its centre, as in the authors' code: half a pixel up and left of centred.
    assert torch.allclose(covered, covered.flip(0).flip(1), atol=0.12)
    assert covered[4, 4] > covered[7, 7] > 0.05


@settings(deadline=None)
@given(changes=MIXES, channels=st.sampled_from([1, 3]), size=st.sampled_from([1, 7, 12]))
def test_the_accelerator_and_cpu_code_paths_paste_the_same_boxes(
    changes: Mapping[str, object], channels: int, size: int
) -> None:
    own, other = random_images(20, channels, size), random_images(21, channels, size)[:20]
    plan = make_plan(**{**changes, "mix": "cutmix"})
    found, _ = mix_views(own, other, BITS[:20], plan)
    box = torch.tensor([[0, 3, size, 1], [size, 3, size, 0], [0, 0, 2, 0], [size, 1, 1, 1]])
    edges = tuple(edge.repeat(5) for edge in box)
    assert torch.equal(mixing._paste_by_mask(own, other, *edges), mixing._paste_by_slices(own, other, *edges))
    assert found.shape == own.shape


def test_mixing_does_not_modify_its_inputs() -> None:
    own, other = random_images(9), random_images(10)[:9]
    before = own.clone(), other.clone()
    for mix in ("mixup", "cutmix"):
        mix_views(own, other, BITS[:9], make_plan(mix=mix))
    assert torch.equal(own, before[0])
    assert torch.equal(other, before[1])


def test_targets_are_class_shares() -> None:
    own, other = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])
    targets = mixed_targets(own, other, torch.tensor([0.25, 0.625, 1.0]), 4)
    expected = torch.tensor([[0.25, 0.75, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    assert targets.dtype == torch.float32
    assert torch.equal(targets, expected)
