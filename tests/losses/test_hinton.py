"""`kd` and `ctkd` against their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor

from nas_distill.losses.adaptive import CurriculumTemperature
from nas_distill.losses.functional import ctkd, kd


def random_logits(seed: int, images: int, classes: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, images, classes, dtype=torch.float64, generator=generator)
    return student, teacher


def value_and_gradient(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    value = kd(student, teacher, temperature=temperature)
    value.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    return value.detach(), student.grad


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 6),
    classes=st.integers(2, 12),
    temperature=st.floats(0.25, 50.0),
)
def test_value_and_gradient_equal_the_equation(seed: int, images: int, classes: int, temperature: float) -> None:
    student, teacher = random_logits(seed, images, classes)
    log_q, log_p = (log_softmax(np.asarray(values) / temperature, axis=1) for values in (student, teacher))
    expected = temperature**2 * np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1))
    value, gradient = value_and_gradient(student, teacher, temperature)
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-11)
    np.testing.assert_allclose(gradient, temperature / images * (np.exp(log_q) - np.exp(log_p)), atol=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), temperature=st.floats(0.5, 20.0), shift=st.floats(-50.0, 50.0))
def test_a_constant_added_to_all_logits_changes_nothing(seed: int, temperature: float, shift: float) -> None:
    student, teacher = random_logits(seed, 3, 5)
    plain = kd(student, teacher, temperature=temperature).item()
    shifted = kd(student + shift, teacher - 2 * shift, temperature=temperature).item()
    assert shifted == pytest.approx(plain, rel=1e-9, abs=1e-9)
    assert plain >= -1e-12


def test_at_high_temperature_it_matches_zero_mean_logits() -> None:
    # Section 2.1 of the paper: T^2 KL tends to the sum of squared differences of zero-mean logits divided by 2 C.
    student, teacher = random_logits(1, 4, 10)
    student, teacher = (values - values.mean(dim=1, keepdim=True) for values in (student, teacher))
    expected = (student - teacher).square().mean().item() / 2
    assert kd(student, teacher, temperature=1e4).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_with_the_same_temperature_ctkd_equals_kd(temperature: float) -> None:
    student, teacher = random_logits(2, 4, 10)
    learned = torch.tensor(temperature, dtype=torch.float64)
    assert torch.equal(ctkd(student, teacher, learned), kd(student, teacher, temperature=temperature))


def test_the_temperature_is_trained_against_the_student() -> None:
    student, teacher = (values.float() for values in random_logits(3, 8, 10))
    loss = CurriculumTemperature(curriculum_epochs=2.0)
    assert loss.temperature().item() == pytest.approx(1 + 20 / (1 + np.exp(-1.0)))
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    values = []
    for epoch in range(3):
        loss.begin_epoch(epoch)
        values.append(loss(student, teacher))
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    assert [loss.reversal.item()] == [-1.0]
    assert values[0] < values[1] < values[2]


def test_before_the_first_epoch_the_temperature_is_not_trained() -> None:
    student, teacher = (values.float() for values in random_logits(3, 8, 10))
    loss = CurriculumTemperature()
    loss(student, teacher).backward()
    assert loss.theta.grad is not None
    assert loss.theta.grad.item() == 0.0
    assert loss.state_dict().keys() == {"theta"}, "the reversal is a function of the epoch"
