"""Weights per image: for the teacher's losses, and for the cross-entropy with the labels."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from nas_distill.losses.entries import LossEntry, Need
from nas_distill.losses.functional import dkd, kd, nkd, sp, wsld
from nas_distill.losses.functional.hinton import softened_divergence
from nas_distill.losses.sample_weighting import (
    label_weights,
    released_weights,
    sample_weights,
    weight_gradients,
    weighted_cross_entropy,
)
from nas_distill.losses.schedules import label_weight
from nas_distill.losses.shipped import LOSSES
from nas_distill.records.recipe import SampleWeighting

LABELS = torch.tensor([3, 0, 2, 2, 1, 4])
SHARES = 0.7 * one_hot(LABELS, 5).double() + 0.3 * one_hot(LABELS.flip(0), 5).double()
WEIGHTS = torch.tensor([0.0, 0.5, 1.0, 2.0, 1.5, 1.0], dtype=torch.float64)
LOGIT_LOSSES = [entry for entry in map(LOSSES.get, LOSSES.names()) if Need.LOGITS in entry.needs and not entry.learned]
KINDS: tuple[SampleWeighting, ...] = get_args(SampleWeighting)


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def gradient(value: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(value, of)[0]


def by_images(loss: str, student: Tensor, teacher: Tensor) -> list[Tensor]:
    """Return the loss of each image, as a batch of one."""
    losses = {
        "kd": lambda rows: kd(student[rows], teacher[rows], temperature=2.0),
        "dkd": lambda rows: dkd(student[rows], teacher[rows], LABELS[rows], temperature=2.0),
        "nkd": lambda rows: nkd(student[rows], teacher[rows], LABELS[rows]),
        "wsld": lambda rows: wsld(student[rows], teacher[rows], LABELS[rows]),
    }
    return [losses[loss](slice(row, row + 1)) for row in range(len(student))]


@pytest.mark.parametrize("loss", ["kd", "dkd", "nkd", "wsld"])
def test_the_gradient_of_a_mean_over_images_is_that_of_the_weighted_mean(loss: str) -> None:
    student, teacher = drawn(6, 5, seed=1).requires_grad_(), drawn(6, 5, seed=2)
    functions = {
        "kd": lambda logits: kd(logits, teacher, temperature=2.0),
        "dkd": lambda logits: dkd(logits, teacher, LABELS, temperature=2.0),
        "nkd": lambda logits: nkd(logits, teacher, LABELS),
        "wsld": lambda logits: wsld(logits, teacher, LABELS),
    }
    value = functions[loss](weight_gradients(student, WEIGHTS))
    assert torch.equal(value, functions[loss](student)), "weights do not change the value"
    weighted = (WEIGHTS * torch.stack(by_images(loss, student, teacher))).mean()
    torch.testing.assert_close(gradient(value, student), gradient(weighted, student), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("entry", LOGIT_LOSSES, ids=lambda entry: entry.name)
def test_every_loss_of_logits_can_be_weighted(entry: LossEntry) -> None:
    student, teacher = drawn(6, 5, seed=1, dtype=torch.float32).requires_grad_(), drawn(6, 5, seed=2).float()
    targets = (LABELS,) if Need.LABELS in entry.needs else ()
    plain, weighted = (
        entry.function(s, teacher, *targets) for s in (student, weight_gradients(student, WEIGHTS.float()))
    )
    assert torch.equal(plain, weighted)
    expected = gradient(plain, student) * WEIGHTS.float()[:, None]
    torch.testing.assert_close(gradient(weighted, student), expected)


def test_feature_maps_get_one_weight_per_image() -> None:
    student, teacher = drawn(6, 4, 3, 3, seed=1).requires_grad_(), drawn(6, 7, seed=2)
    plain, weighted = sp(student, teacher), sp(weight_gradients(student, WEIGHTS), teacher)
    torch.testing.assert_close(gradient(weighted, student), gradient(plain, student) * WEIGHTS[:, None, None, None])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_value_type_and_range(dtype: torch.dtype) -> None:
    student = drawn(6, 5, seed=1, dtype=dtype).requires_grad_()
    out = weight_gradients(student, WEIGHTS.float())
    assert out.dtype == dtype
    assert torch.equal(out, student)
    largest = torch.finfo(dtype).max
    (found,) = torch.autograd.grad(out, student, torch.full_like(out, largest))
    assert bool(found.isfinite().all())
    assert found[:, 0].tolist() == [0.0, largest / 2, *[largest] * 4]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_weights_have_mean_1_and_no_gradient(kind: SampleWeighting, targets: Tensor, dtype: torch.dtype) -> None:
    teacher = drawn(6, 5, seed=2, dtype=dtype).requires_grad_()
    weights = sample_weights(kind, teacher, targets)
    assert weights.dtype == torch.float32
    assert weights.shape == (6,)
    assert not weights.requires_grad
    assert weights.mean().item() == pytest.approx(1.0)
    assert bool((weights >= 0).all())


def test_weights_by_confidence_and_by_correctness() -> None:
    teacher = drawn(6, 5, seed=2)
    p = teacher.softmax(dim=1)
    confidence = 1 + (p * p.log()).sum(dim=1) / math.log(5)
    correctness = (SHARES * p).sum(dim=1)
    expected_weights: dict[SampleWeighting, Tensor] = {"confidence": confidence, "correctness": correctness}
    for kind, expected in expected_weights.items():
        found = sample_weights(kind, teacher, SHARES)
        torch.testing.assert_close(found, (expected / expected.mean()).float())
    own = p[torch.arange(6), LABELS]
    torch.testing.assert_close(sample_weights("correctness", teacher, LABELS), (own / own.mean()).float())
    assert sample_weights("none", teacher, LABELS).tolist() == [1.0] * 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "teacher",
    [
        torch.zeros(3, 5),
        torch.full((3, 5), 0.1),
        torch.full((3, 1000), 2.5),
        torch.zeros(3, 1),
        torch.tensor([[2e4, -2e4], [-6e4, 6e4], [0.0, 0.0]], dtype=torch.float16),
        torch.tensor([[-200.0, 0.0]]).expand(3, 2),
        torch.tensor([[-102.0, 0.0], [-103.0, 0.0], [-200.0, 0.0]]),
    ],
    ids=["uniform", "uniform-0.1", "many-classes", "one-class", "huge", "never-right", "hardly-right"],
)
def test_weights_are_finite_for_extreme_teachers(kind: SampleWeighting, teacher: Tensor) -> None:
    weights = sample_weights(kind, teacher, torch.zeros(3, dtype=torch.int64))
    assert bool(weights.isfinite().all())
    assert weights.mean().item() == pytest.approx(1.0)


def test_a_uniform_teacher_weights_all_images_equally() -> None:
    for classes in (2, 3, 10, 1000):
        assert sample_weights("confidence", torch.full((4, classes), 0.3), LABELS[:4] * 0).tolist() == [1.0] * 4
    assert (
        sample_weights("correctness", torch.tensor([[-200.0, 0.0]]).expand(4, 2), LABELS[:4] * 0).tolist() == [1.0] * 4
    )


def test_released_classes_lose_their_share_of_an_image() -> None:
    released = torch.tensor([False, False, True, False, True])
    assert released_weights(LABELS, released).tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    expected = 1 - SHARES[:, 2] - SHARES[:, 4]
    torch.testing.assert_close(released_weights(SHARES, released), expected.float())
    assert released_weights(SHARES, torch.zeros(5, dtype=torch.bool)).tolist() == [1.0] * 6
    assert bool((released_weights(SHARES, torch.ones(5, dtype=torch.bool)).abs() < 1e-6).all())


def test_released_images_have_the_label_weight_of_training_without_a_teacher() -> None:
    kept = torch.tensor([1.0, 0.0, 0.5])
    assert label_weights(0.1, 1.0, kept).tolist() == pytest.approx([0.1, 1.0, 0.55])
    assert label_weights(0.1, 0.5, kept).tolist() == pytest.approx([label_weight(0.1, 0.5), 1.0, 0.775])
    assert label_weights(0.1, torch.tensor(0.0), kept).tolist() == pytest.approx([1.0] * 3)
    assert label_weights(2.0, 0.3, kept).tolist() == [2.0] * 3


@given(st.floats(0.0, 5.0), st.floats(0.0, 1.0))
def test_without_released_classes_all_label_weights_are_equal(own: float, factor: float) -> None:
    weights = label_weights(own, factor, torch.ones(2, dtype=torch.float64))
    assert weights.tolist() == pytest.approx([label_weight(own, factor)] * 2, rel=1e-12)


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_equal_weights_it_is_torchs_cross_entropy(targets: Tensor, smoothing: float) -> None:
    logits = drawn(6, 5, seed=1).requires_grad_()
    plain = cross_entropy(logits, targets, label_smoothing=smoothing)
    equal = weighted_cross_entropy(logits, targets, torch.full((6,), 0.7), label_smoothing=smoothing)
    torch.testing.assert_close(equal, plain * float(torch.tensor(0.7)))
    own = torch.stack(
        [cross_entropy(logits[row : row + 1], targets[row : row + 1], label_smoothing=smoothing) for row in range(6)]
    )
    weighted = weighted_cross_entropy(logits, targets, WEIGHTS, label_smoothing=smoothing)
    torch.testing.assert_close(weighted, (WEIGHTS * own).mean())
    torch.testing.assert_close(gradient(weighted, logits), gradient((WEIGHTS * own).mean(), logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weighted_cross_entropy_computes_in_float32(dtype: torch.dtype) -> None:
    logits = (2e4 * drawn(6, 5, seed=1).sign()).to(dtype).requires_grad_()
    value = weighted_cross_entropy(logits, SHARES.float(), WEIGHTS.float())
    assert value.dtype == torch.float32
    assert bool(value.isfinite())
    assert bool(gradient(value, logits).isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mixed", [False, True])
def test_nothing_reads_a_value_from_the_device(kind: SampleWeighting, mixed: bool) -> None:
    """Tensors on the meta device have no values; reading one raises."""
    student, teacher, shares = (torch.empty(6, 5, device="meta") for _ in range(3))
    targets = shares if mixed else torch.empty(6, dtype=torch.int64, device="meta")
    kept = released_weights(targets, torch.empty(5, dtype=torch.bool, device="meta"))
    weights = sample_weights(kind, teacher, targets) * kept
    label = weighted_cross_entropy(student, targets, label_weights(0.1, 0.5, kept), label_smoothing=0.1)
    student.requires_grad_()
    total = label + softened_divergence(weight_gradients(student, weights), teacher, 4.0)
    assert gradient(total, student).shape == (6, 5)
