"""Each loss against its equation, written a second time in NumPy, and the treatment of mixed labels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import pearsonr, zscore
from torch import Tensor

from nas_distill.errors import TeacherError
from nas_distill.losses.functional import (
    at,
    between_classes,
    between_images,
    cc,
    dist,
    dkd,
    hint,
    kd,
    kernel_matrix,
    mlkd,
    nkd,
    pkt,
    rkd,
    simkd,
    sp,
    standardise,
    wsld,
)

Array = NDArray[np.float64]
LABELS = torch.tensor([3, 0, 9, 9, 1, 4])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def student() -> Tensor:
    return drawn(6, 10, seed=1)


@pytest.fixture
def teacher() -> Tensor:
    return drawn(6, 10, seed=2)


def assert_equals(value: Tensor, expected: float | np.floating[Any]) -> None:
    assert value.item() == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


def divergence(p: Array, q: Array) -> float:
    return float(np.sum(p * np.log(p / q)))


def split(logits: Tensor, label: int, temperature: float) -> tuple[Array, Array]:
    """Return (label, others) as two probabilities, and the probabilities among the others."""
    row = logits.numpy() / temperature
    rest = np.delete(row, label)
    return softmax(np.array([row[label], logsumexp(rest)])), softmax(rest)


def test_dkd_is_the_sum_of_its_two_parts(student: Tensor, teacher: Tensor) -> None:
    parts = []
    for s, t, label in zip(student, teacher, LABELS.tolist(), strict=True):
        (pair_s, rest_s), (pair_t, rest_t) = split(s, label, 2.0), split(t, label, 2.0)
        parts.append((divergence(pair_t, pair_s), divergence(rest_t, rest_s)))
    target, others = 4 * np.mean(parts, axis=0)
    assert_equals(dkd(student, teacher, LABELS, alpha=0.5, beta=3.0, temperature=2.0), 0.5 * target + 3 * others)


def test_dkd_with_matching_weights_is_hintons_loss(student: Tensor, teacher: Tensor) -> None:
    # Equation 6 of the paper, for each image: KD = TCKD + (1 - p_y) NCKD.
    total = 0.0
    for row, label in enumerate(LABELS):
        one = slice(row, row + 1)
        rest = 1 - (teacher[row] / 4).softmax(dim=0)[label].item()
        total += dkd(student[one], teacher[one], LABELS[one], alpha=1.0, beta=rest, temperature=4.0).item() / 6
    assert_equals(kd(student, teacher, temperature=4.0), total)


def test_dist_is_pearsons_correlation(student: Tensor, teacher: Tensor) -> None:
    q, p = (softmax(values.numpy() / 4, axis=1) for values in (student, teacher))
    rows = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q, p, strict=True)])
    columns = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q.T, p.T, strict=True)])
    value = dist(student, teacher, beta=2.0, gamma=3.0, temperature=4.0).item()
    assert value == pytest.approx(16 * (2 * rows + 3 * columns), rel=1e-5), "up to 1e-8 in the denominator"


def test_nkd_equals_its_equation(student: Tensor, teacher: Tensor) -> None:
    total = 0.0
    for s, t, label in zip(student, teacher, LABELS.tolist(), strict=True):
        (_, rest_s), (_, rest_t) = split(s, label, 2.0), split(t, label, 2.0)
        first = -softmax(t.numpy())[label] * log_softmax(s.numpy())[label]
        total += (first - 1.5 * 4 * np.sum(rest_t * np.log(rest_s))) / 6
    assert_equals(nkd(student, teacher, LABELS, gamma=1.5, temperature=2.0), total)


def test_wsld_weights_each_image(student: Tensor, teacher: Tensor) -> None:
    losses = [-log_softmax(v.numpy(), axis=1)[np.arange(6), LABELS.numpy()] for v in (student, teacher)]
    weights = 1 - np.exp(-losses[0] / (losses[1] + 1e-7))
    soft = -(softmax(teacher.numpy() / 4, axis=1) * log_softmax(student.numpy() / 4, axis=1)).sum(axis=1)
    assert_equals(wsld(student, teacher, LABELS, temperature=4.0), 16 * np.mean(weights * soft))


def test_mlkd_sums_over_levels_and_temperatures(student: Tensor, teacher: Tensor) -> None:
    total = 0.0
    for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
        q, p = (values.div(temperature).softmax(dim=1) for values in (student, teacher))
        total += kd(student, teacher, temperature=temperature).item()
        total += 0.5 * between_images(q, p).item() + 0.25 * between_classes(q, p).item()
    assert_equals(mlkd(student, teacher, images=0.5, classes=0.25, temperature=4.0), total)


def test_standardised_logits_are_the_z_scores_of_scipy(student: Tensor) -> None:
    np.testing.assert_allclose(standardise(student), zscore(student.numpy(), axis=1, ddof=1), rtol=1e-6)


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, 10).float()


@pytest.mark.parametrize("loss", [dkd, nkd, wsld])
def test_one_hot_shares_give_the_value_of_labels(loss: object, student: Tensor, teacher: Tensor) -> None:
    assert callable(loss)
    assert_equals(loss(student, teacher, one_hot(LABELS)), loss(student, teacher, LABELS).item())


@pytest.mark.parametrize("loss", [dkd, nkd])
def test_the_class_with_the_largest_share_is_the_label_of_a_mixed_image(
    loss: object, student: Tensor, teacher: Tensor
) -> None:
    assert callable(loss)
    other = torch.tensor([0, 1, 2, 3, 4, 5])
    mixed = 0.6 * one_hot(LABELS) + 0.4 * one_hot(other)
    assert_equals(loss(student, teacher, mixed), loss(student, teacher, LABELS).item())
    even = 0.5 * one_hot(LABELS) + 0.5 * one_hot(other)
    assert_equals(loss(student, teacher, even), loss(student, teacher, torch.minimum(LABELS, other)).item())


def test_wsld_uses_the_cross_entropy_with_shares(student: Tensor, teacher: Tensor) -> None:
    mixed = 0.6 * one_hot(LABELS) + 0.4 * one_hot(LABELS.flip(0))
    losses = [-(log_softmax(v.numpy(), axis=1) * mixed.double().numpy()).sum(axis=1) for v in (student, teacher)]
    soft = -(softmax(teacher.numpy() / 4, axis=1) * log_softmax(student.numpy() / 4, axis=1)).sum(axis=1)
    expected = 16 * np.mean((1 - np.exp(-losses[0] / (losses[1] + 1e-7))) * soft)
    assert wsld(student, teacher, mixed).item() == pytest.approx(expected, rel=1e-6)


def attention(features: Tensor, power: int) -> Array:
    energy = (np.abs(features.numpy()) ** power).sum(axis=1).reshape(len(features), -1)
    unit: Array = energy / np.linalg.norm(energy, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("power", [1, 2, 3])
def test_attention_equals_its_equation_and_ignores_signs(power: int) -> None:
    student, teacher = drawn(4, 3, 5, 5), drawn(4, 7, 5, 5, seed=1)
    difference = attention(student, power) - attention(teacher, power)
    assert_equals(at(student, teacher, power=power), np.linalg.norm(difference, axis=1).mean())
    assert_equals(at(student, teacher, power=power, squared=1.0), np.mean(difference**2))
    assert_equals(at(-student, teacher, power=power), at(student, teacher, power=power).item())


@pytest.mark.parametrize("power", [1, 3])
def test_attention_of_an_odd_power_is_not_the_signed_power(power: int) -> None:
    """RepDistiller computes x^p, which keeps the sign for odd p. The paper, and `at`, use |x|^p."""
    student, teacher = drawn(4, 3, 5, 5), drawn(4, 7, 5, 5, seed=1)
    signed = []
    for features in (student, teacher):
        energy = features.pow(power).mean(dim=1).flatten(1)
        signed.append(energy / energy.norm(dim=1, keepdim=True))
    theirs = (signed[0] - signed[1]).square().mean().item()
    assert at(student, teacher, power=power, squared=1.0).item() != pytest.approx(theirs, rel=1e-2)


def test_rkd_equals_loops_over_pairs_and_triplets() -> None:
    student, teacher = drawn(5, 4), drawn(5, 7, seed=1)

    def relations(values: Array) -> tuple[Array, Array]:
        distances = np.array([[np.linalg.norm(a - b) for b in values] for a in values])
        cosines = np.zeros((5, 5, 5))
        for i, j, k in itertools.product(range(5), repeat=3):
            if i not in (j, k):
                cosines[i, j, k] = (values[j] - values[i]) @ (values[k] - values[i]) / distances[i, j] / distances[i, k]
        return distances / distances[distances > 0].mean(), cosines

    def huber(difference: Array) -> float:
        size = np.abs(difference)
        return float(np.where(size < 1, size**2 / 2, size - 0.5).mean())

    (ds, cs), (dt, ct) = relations(student.numpy()), relations(teacher.numpy())
    assert_equals(rkd(student, teacher, distance=25.0, angle=50.0), 25 * huber(ds - dt) + 50 * huber(cs - ct))
    assert_equals(rkd(student, teacher, distance=0.0, angle=1.0), huber(cs - ct))


@pytest.mark.parametrize(("apart", "relative"), [(None, 1e-5), (1.0, 1e-5), (0.1, 1e-4), (0.01, 1e-2)])
def test_rkd_is_accurate_in_float32_far_from_the_origin(apart: float | None, relative: float) -> None:
    student, teacher = drawn(16, 8) + 1e3, drawn(16, 12, seed=1)
    if apart is not None:
        student[1] = student[0] + apart
    student, teacher = student.float(), teacher.float()
    exact = rkd(student.double(), teacher.double()).item()
    assert rkd(student, teacher).item() == pytest.approx(exact, rel=relative)


def test_sp_compares_rows_of_length_one() -> None:
    student, teacher = drawn(5, 4, 3, 3), drawn(5, 7, seed=1)
    grams = [values.flatten(1).numpy() @ values.flatten(1).numpy().T for values in (student, teacher)]
    rows = [gram / np.linalg.norm(gram, axis=1, keepdims=True) for gram in grams]
    assert_equals(sp(student, teacher), ((rows[0] - rows[1]) ** 2).sum() / 25)


def test_pkt_is_a_divergence_of_probabilities() -> None:
    student, teacher = drawn(5, 4), drawn(5, 7, seed=1)
    shares = []
    for values in (student.numpy(), teacher.numpy()):
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        closeness = (unit @ unit.T + 1) / 2
        shares.append(closeness / closeness.sum(axis=1, keepdims=True))
    assert pkt(student, teacher).item() == pytest.approx(divergence(shares[1], shares[0]) / 25, rel=1e-4)


def test_the_kernel_is_the_taylor_series_of_the_gaussian() -> None:
    unit = torch.nn.functional.normalize(drawn(5, 4), dim=1)
    gaussian = torch.exp(-0.4 * torch.cdist(unit, unit).square())
    torch.testing.assert_close(kernel_matrix(unit, gamma=0.4, order=20), gaussian, rtol=1e-9, atol=1e-12)
    products = unit @ unit.T
    second = math.exp(-0.8) * (1 + 0.8 * products + 0.8**2 / 2 * products**2)
    torch.testing.assert_close(kernel_matrix(unit, gamma=0.4, order=2), second)


def test_correlation_congruence_ignores_the_lengths_of_embeddings() -> None:
    student, teacher = drawn(5, 4), drawn(5, 7, seed=1)
    kernels = [kernel_matrix(torch.nn.functional.normalize(v, dim=1), gamma=0.4, order=2) for v in (student, teacher)]
    assert_equals(cc(student, teacher), (kernels[0] - kernels[1]).square().sum().item() / 25)
    assert_equals(cc(student * torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]), teacher), cc(student, teacher).item())


@pytest.mark.parametrize("loss", [hint, simkd])
def test_a_regression_rejects_maps_with_other_channels(loss: object) -> None:
    assert callable(loss)
    with pytest.raises(TeacherError) as caught:
        loss(drawn(4, 3, 5, 5), drawn(4, 7, 5, 5))
    assert caught.value.code == "losses.shape_mismatch"
    assert_equals(loss(drawn(4, 3), drawn(4, 3) + 2), 4.0)
