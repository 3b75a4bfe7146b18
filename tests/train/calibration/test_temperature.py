from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from nas_distill.train.calibration.temperature import HIGHEST, LOWEST, PARTS, fit_temperatures

SEEDS = st.integers(0, 2**32 - 1)


def drawn(images: int, classes: int, seed: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return logits of a perfectly calibrated network, and labels that are drawn from its probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(images, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator).flatten()


def perfect(images: int, margin: float) -> tuple[Tensor, Tensor]:
    """Return logits that are right for every image."""
    labels = torch.arange(images) % 10
    return margin * one_hot(labels, 10).double(), labels


def nll(logits: Tensor, labels: Tensor, temperature: Tensor | float) -> float:
    divisor = temperature[:, None] if isinstance(temperature, Tensor) else temperature
    return float(cross_entropy(logits / divisor, labels))


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS, scaling=st.sampled_from([0.04, 0.3, 1.0, 3.0, 25.0]))
def test_the_temperature_is_the_factor_by_which_calibrated_logits_were_multiplied(seed: int, scaling: float) -> None:
    logits, labels = drawn(3000, 10, seed)
    found = fit_temperatures(scaling * logits, labels)
    assert found.final == pytest.approx(scaling, rel=0.12)
    assert found.by_part == pytest.approx((scaling,) * PARTS, rel=0.15)
    assert found.images == 3000


@pytest.mark.parametrize("images", [20, 288])
def test_the_fit_is_the_minimum_of_the_likelihood_with_half_an_image_of_a_random_label(images: int) -> None:
    logits, labels = drawn(images, 10, 5)
    logits = 0.1 * logits
    smoothing = 0.5 / (images + 0.5)

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / math.exp(log_temperature), labels, label_smoothing=smoothing))

    expected = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded").x
    assert fit_temperatures(logits, labels).final == pytest.approx(math.exp(expected), rel=5e-3)


def test_likelihoods_at_a_temperature_by_hand() -> None:
    logits, labels = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([1])
    assert nll(logits, labels, 1.0) == pytest.approx(-math.log(3 / 4))
    assert nll(logits, labels, 0.5) == pytest.approx(-math.log(9 / 10))
    assert nll(logits, labels, 2.0) == pytest.approx(-math.log(math.sqrt(3) / (1 + math.sqrt(3))))


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, images=st.integers(1, 60), classes=st.integers(2, 6), scale=st.sampled_from([1e-6, 0.1, 1.0, 1e3]))
def test_images_that_no_temperature_has_seen_are_never_less_likely_than_before(
    seed: int, images: int, classes: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(images, classes, generator=generator)  # the labels are random: overconfident
    labels = torch.randint(classes, (images,), generator=generator)
    found = fit_temperatures(logits, labels)
    assert all(LOWEST <= temperature <= HIGHEST for temperature in (found.final, *found.by_part))
    calibrated = nll(logits.double(), labels, found.cross_fitted(torch.arange(images)))
    assert calibrated <= nll(logits.double(), labels, 1.0) + 1e-12


@pytest.mark.parametrize("images", [10, 60, 300])
@pytest.mark.parametrize("margin", [0.2, 1.0, 20.0])
def test_perfect_predictions_do_not_collapse_the_temperature(images: int, margin: float) -> None:
    logits, labels = perfect(images, margin)
    found = fit_temperatures(logits, labels)
    stated = (logits / found.final).softmax(dim=1).gather(1, labels[:, None])
    errors = float((1 - stated).sum())
    if found.final != 1.0:
        assert 0.3 <= errors <= 0.6  # as the half image says; maximum likelihood would state 0
    else:
        assert margin == 20.0


def test_a_temperature_of_few_images_is_cautious() -> None:
    for images in (0, 1, 6):
        found = fit_temperatures(torch.zeros(images, 10), torch.zeros(images, dtype=torch.int64))
        assert (found.final, found.images) == (1.0, images)
    one = fit_temperatures(*perfect(1, 0.1))
    assert (one.final, set(one.by_part)) == (1.0, {1.0})


def test_the_temperature_of_a_part_does_not_depend_on_its_images() -> None:
    logits, labels = drawn(100, 5, 1)
    logits = logits / 5
    found = fit_temperatures(logits, labels)
    for part in range(PARTS):
        changed = labels.clone()
        changed[part::PARTS][:2] = (labels[part::PARTS][:2] + 1) % 5
        again = fit_temperatures(logits, changed)
        assert again.by_part[part] == found.by_part[part] != 1.0
        assert again.final != found.final


def test_the_position_of_an_image_decides_its_part() -> None:
    logits, labels = drawn(50, 5, 2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    found = fit_temperatures(logits / 5, labels)
    shuffled = fit_temperatures(logits[order] / 5, labels[order], order)
    assert shuffled.by_part == pytest.approx(found.by_part)
    assert found.cross_fitted(torch.tensor([0, 7, 13])).tolist() == [found.by_part[part] for part in (0, 2, 3)]
    together = fit_temperatures(logits / 5, labels, PARTS * torch.arange(50))
    assert together.final == 1.0
