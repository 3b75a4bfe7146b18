"""Metrics against scikit-learn, scipy and the original authors' code."""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss, recall_score
from sklearn.metrics.pairwise import linear_kernel
from sklearn.preprocessing import KernelCenterer
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from nas_distill.train.metrics import (
    ECE_BINS,
    SplitMetrics,
    TeacherComparison,
    class_gaps,
    ece_noise,
    gap_points,
    linear_cka,
    metric_sums,
)
from tests.losses.reference import REFERENCE, logits

Split = tuple[Tensor, Tensor, Tensor]


def score(student: Tensor, labels: Tensor) -> SplitMetrics:
    return metric_sums(student, labels).metrics()


def compare(student: Tensor, teacher: Tensor) -> TeacherComparison:
    return metric_sums(student, torch.zeros(len(student), dtype=torch.int64), teacher).comparison()


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Draws student logits, teacher logits [N, C] and labels [N], classes without images among them."""
    images, classes = draw(st.integers(1, 30)), draw(st.integers(2, 8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 3.0]))  # beyond, scikit-learn clips
    student, teacher = scale * generator.standard_normal((2, images, classes))
    labels = generator.integers(0, classes, images)
    return torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(labels)


@settings(deadline=None, max_examples=50)
@given(splits())
def test_score_agrees_with_scikit_learn(split: Split) -> None:
    student, _, labels = split
    images, classes = student.shape
    metrics = score(student, labels)
    predicted = student.numpy().argmax(axis=1)
    assert metrics.top1 == pytest.approx(accuracy_score(labels.numpy(), predicted))
    expected = log_loss(labels.numpy(), softmax(student.numpy(), axis=1), labels=np.arange(classes))
    assert metrics.nll_nats == pytest.approx(expected, rel=1e-9, abs=1e-12)
    recalls = recall_score(labels.numpy(), predicted, labels=np.arange(classes), average=None, zero_division=np.nan)
    assert sum(metrics.class_counts) == images
    assert len(metrics.class_counts) == len(metrics.class_top1) == classes
    for found, recall, count in zip(metrics.class_top1, recalls, metrics.class_counts, strict=True):
        assert found == (None if count == 0 else pytest.approx(recall))


@settings(deadline=None, max_examples=50)
@given(splits())
def test_compare_agrees_with_scipy(split: Split) -> None:
    student, teacher, _ = split
    comparison = compare(student, teacher)
    expected = np.mean(entropy(softmax(teacher.numpy(), axis=1), softmax(student.numpy(), axis=1), axis=1))
    assert comparison.divergence_nats == pytest.approx(expected, rel=1e-9, abs=1e-12)
    same = accuracy_score(teacher.numpy().argmax(axis=1), student.numpy().argmax(axis=1))
    assert comparison.agreement == pytest.approx(same)


@settings(deadline=None, max_examples=50)
@given(splits())
def test_a_network_agrees_with_itself(split: Split) -> None:
    _, teacher, _ = split
    comparison = compare(teacher + 3.0, teacher)
    assert comparison.agreement == 1.0
    assert 0.0 <= comparison.divergence_nats < 1e-12


@settings(deadline=None, max_examples=50)
@given(splits())
def test_class_gaps_average_to_the_gap(split: Split) -> None:
    student, teacher, labels = split
    theirs, mine = score(teacher, labels), score(student, labels)
    gaps = class_gaps(theirs, mine)
    weighted = [count * gap for gap, count in zip(gaps, mine.class_counts, strict=True) if gap is not None]
    assert sum(weighted) / len(labels) == pytest.approx(gap_points(theirs.top1, mine.top1), abs=1e-9)
    assert [gap is None for gap in gaps] == [count == 0 for count in mine.class_counts]


@settings(deadline=None, max_examples=50)
@given(splits(), st.integers(1, 7))
def test_sums_of_batches_add_up_to_the_sums_of_the_split(split: Split, size: int) -> None:
    student, teacher, labels = split
    whole = metric_sums(student, labels, teacher)
    batches = zip(*(torch.split(part, size) for part in (student, labels, teacher)), strict=True)
    total = reduce(add, (metric_sums(*batch) for batch in batches))
    assert total.metrics().class_top1 == whole.metrics().class_top1
    assert total.metrics().nll_nats == pytest.approx(whole.metrics().nll_nats, rel=1e-12, abs=1e-15)
    assert total.comparison().agreement == whole.comparison().agreement
    assert total.comparison().divergence_nats == pytest.approx(whole.comparison().divergence_nats, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_logit_that_is_not_finite_is_detected(bad: float) -> None:
    logits_ = torch.zeros(4, 3)
    labels = torch.zeros(4, dtype=torch.int64)
    assert metric_sums(logits_, labels).finite
    logits_[2, 1] = bad
    assert not (metric_sums(logits_[:2], labels[:2]) + metric_sums(logits_[2:], labels[2:])).finite


@pytest.mark.parametrize("record", REFERENCE["fidelity"], ids=lambda r: r["input"])
def test_compare_agrees_with_the_paper_it_cites(record: dict[str, Any]) -> None:
    comparison = compare(*logits(record["input"]))
    assert comparison.agreement == record["agreement"]
    if record["divergence_nats"] == "inf":
        assert math.isfinite(comparison.divergence_nats)
    else:
        assert comparison.divergence_nats == pytest.approx(record["divergence_nats"], rel=1e-9, abs=1e-13)


@settings(deadline=None, max_examples=50)
@given(splits())
def test_calibration_error_agrees_with_torchmetrics(split: Split) -> None:
    student, _, labels = split
    expected = multiclass_calibration_error(
        student.softmax(dim=1), labels, num_classes=student.shape[1], n_bins=ECE_BINS, norm="l1"
    )
    assert score(student, labels).ece == pytest.approx(expected.item(), abs=1e-6)


def test_a_confident_network_that_is_always_wrong_has_the_largest_calibration_error() -> None:
    logits = torch.tensor([[1e4, 0.0]]).repeat(5, 1)
    assert score(logits, torch.ones(5, dtype=torch.int64)).ece == 1.0
    assert score(logits, torch.zeros(5, dtype=torch.int64)).ece == 0.0


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_cka_agrees_with_its_definition_by_kernels(images: int, wide: int, narrow: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    student, teacher = (
        generator.standard_normal((images, wide)),
        generator.standard_normal((images, narrow)),
    )
    # HSIC of centred Gram matrices, which never meet in our own formula.
    kernels = [KernelCenterer().fit_transform(linear_kernel(features)) for features in (student, teacher)]
    norms = [np.sqrt(np.sum(kernel * kernel)) for kernel in kernels]
    expected = np.sum(kernels[0] * kernels[1]) / (norms[0] * norms[1])
    assert linear_cka(torch.from_numpy(student), torch.from_numpy(teacher)) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100.0))
def test_cka_is_invariant_to_rotation_scale_and_shift(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((50, 6)) * np.arange(1.0, 7.0)
    rotation, _ = np.linalg.qr(generator.standard_normal((6, 6)))
    same = torch.from_numpy(scale * features @ rotation + 3.0)
    assert linear_cka(same, torch.from_numpy(features)) == pytest.approx(1.0)
    stretched = torch.from_numpy(features * np.array([100.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert linear_cka(stretched, torch.from_numpy(features)) < 0.9  # type: ignore[operator]


@pytest.mark.parametrize("value", [1.0, math.nan, math.inf])
def test_constant_and_broken_features_have_no_cka(value: float) -> None:
    features = torch.full((5, 3), value)
    assert linear_cka(features, torch.randn(5, 2)) is None
    assert linear_cka(torch.randn(5, 2), features) is None


def test_by_hand() -> None:
    student = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0], [math.log(3.0), 0.0]])
    metrics = score(student, torch.tensor([1, 1, 1]))
    # The tie goes to the first class; probabilities of the label are 3/4, 1/2 and 1/4.
    assert metrics.nll_nats == pytest.approx(-math.log(0.75 * 0.5 * 0.25) / 3, rel=1e-6)
    # Confidences 3/4 (right), 1/2 and 3/4 (wrong): bins 11, 7 and 11 of 15.
    assert metrics.ece == pytest.approx((abs(0.75 - 1.0 + 0.75) + 0.5) / 3, rel=1e-6)
    # The variances of the two bins are 2 (3/16) and 1/4.
    spread = math.sqrt(2 / math.pi) * (math.sqrt(3 / 8) + 0.5) + 1.645 * math.sqrt((1 - 2 / math.pi) * 5 / 8)
    assert metrics.ece_noise == pytest.approx(spread / 3, rel=1e-6)
    assert metrics == SplitMetrics(
        top1=1 / 3, nll_nats=metrics.nll_nats, class_counts=(0, 3), class_top1=(None, 1 / 3),
        ece=metrics.ece, ece_noise=metrics.ece_noise,
    )  # fmt: skip
    comparison = compare(student[:1], torch.zeros(1, 2))
    assert comparison.agreement == 0.0
    assert comparison.divergence_nats == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))


@pytest.mark.parametrize(("images", "scale"), [(60, 1.0), (300, 1.0), (300, 3.0), (3000, 6.0)])
def test_one_calibrated_network_in_twenty_exceeds_the_noise_of_the_calibration_error(images: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = scale * torch.randn(images, 10, generator=generator)
    labels = torch.multinomial(drawn.softmax(dim=1), 400, replacement=True, generator=generator)
    found = [score(drawn, labels[:, column]) for column in range(400)]
    exceeding = sum(metrics.ece > metrics.ece_noise for metrics in found) / len(found)
    assert 0.02 <= exceeding <= 0.09


def test_a_network_that_is_always_sure_has_no_noise_of_the_calibration_error() -> None:
    assert ece_noise([0.0] * ECE_BINS, 10) == 0.0
    assert ece_noise([0.25] * ECE_BINS, 1) == 1.0


def test_gaps_can_be_negative() -> None:
    assert gap_points(0.9, 0.875) == pytest.approx(2.5)
    assert gap_points(0.9, 0.95) == pytest.approx(-5.0)


def test_a_gap_of_one_point_is_exactly_one() -> None:
    assert gap_points(0.98, 0.97) == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_logits_are_measured_in_float64(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 50, 10, generator=generator).to(dtype)
    labels = torch.randint(10, (50,), generator=generator)
    assert score(student, labels) == score(student.double(), labels)
    assert compare(student, teacher) == compare(student.double(), teacher.double())


def test_a_confident_wrong_prediction_has_finite_metrics() -> None:
    logits_ = torch.tensor([[1e4, -1e4]])
    assert score(logits_, torch.tensor([1])).nll_nats == pytest.approx(2e4)
    assert compare(logits_, -logits_).divergence_nats == pytest.approx(2e4)
