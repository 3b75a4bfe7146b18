"""`kd` against the original authors' code and its own equation, and where numbers get hard."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor

from nas_distill.losses.functional import kd
from tests.losses.reference import REFERENCE, logits


def close(ours: float, theirs: float, relative: float = 1e-9) -> bool:
    return abs(ours - theirs) <= 1e-13 + relative * abs(theirs)


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


@pytest.mark.parametrize("record", REFERENCE["equal"], ids=lambda r: f"{r['variant']}-{r['input']}-T{r['temperature']}")
def test_the_original_authors_code_gives_the_same(record: dict[str, Any]) -> None:
    student, teacher = logits(record["input"])
    value, gradient = value_and_gradient(student, teacher, record["temperature"])
    assert close(value.item(), record["value"])
    relative = 1e-6 if record["input"].startswith("EDGE") else 1e-9
    flat = gradient.flatten()
    dot = (flat * torch.cos(0.5 * torch.arange(flat.numel(), dtype=torch.float64))).sum().item()
    assert close(flat.norm().item(), record["grad_l2"], relative)
    assert close(dot, record["grad_dot"], relative)


@pytest.mark.parametrize("record", REFERENCE["disagreeing"], ids=lambda r: f"{r['variant']}-{r['hyper']}")
def test_variants_that_disagree_do_so_by_the_factor_we_know(record: dict[str, Any]) -> None:
    value = kd(*logits(record["input"]), temperature=record["temperature"]).item()
    assert close(value * record["times_the_paper"], record["value"])


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 6),
    classes=st.integers(2, 12),
    temperature=st.floats(0.25, 50.0),
)
def test_it_is_the_equation(seed: int, images: int, classes: int, temperature: float) -> None:
    student, teacher = random_logits(seed, images, classes)
    log_q, log_p = (log_softmax(np.asarray(values) / temperature, axis=1) for values in (student, teacher))
    expected = temperature**2 * np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1))
    value, gradient = value_and_gradient(student, teacher, temperature)
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-11)
    np.testing.assert_allclose(gradient, temperature / images * (np.exp(log_q) - np.exp(log_p)), atol=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), temperature=st.floats(0.5, 20.0), shift=st.floats(-50.0, 50.0))
def test_only_differences_of_logits_count(seed: int, temperature: float, shift: float) -> None:
    student, teacher = random_logits(seed, 3, 5)
    plain = kd(student, teacher, temperature=temperature).item()
    shifted = kd(student + shift, teacher - 2 * shift, temperature=temperature).item()
    assert shifted == pytest.approx(plain, rel=1e-9, abs=1e-9)
    assert plain >= -1e-12


def test_a_perfect_student_has_no_loss_and_no_gradient() -> None:
    _, teacher = random_logits(0, 4, 10)
    value, gradient = value_and_gradient(teacher, teacher, 4.0)
    assert abs(value.item()) < 1e-12
    assert gradient.abs().max().item() < 1e-12


def test_at_high_temperature_it_matches_zero_mean_logits() -> None:
    # Section 2.1 of the paper: T^2 KL tends to the mean squared difference of zero-mean logits over 2 C.
    student, teacher = random_logits(1, 4, 10)
    student, teacher = (values - values.mean(dim=1, keepdim=True) for values in (student, teacher))
    expected = (student - teacher).square().mean().item() / 2
    assert kd(student, teacher, temperature=1e4).item() == pytest.approx(expected, rel=1e-3)


def test_no_gradient_flows_to_the_teacher() -> None:
    student, teacher = (values.requires_grad_() for values in random_logits(0, 4, 10))
    kd(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_are_computed_wide(dtype: torch.dtype) -> None:
    student, teacher = (values.to(dtype) for values in random_logits(0, 4, 10))
    narrow, gradient = value_and_gradient(student, teacher, 4.0)
    wide = kd(student.float(), teacher.float(), temperature=4.0)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, wide)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", ["constant", "huge", "one image", "two classes", "zero", "largest half"])
def test_it_stays_finite(case: str, dtype: torch.dtype, temperature: float) -> None:
    student, teacher = random_logits(0, 4, 10)
    student, teacher = {
        "constant": (torch.full_like(student, 1.5), teacher),
        "huge": (1e4 * student, -1e4 * teacher),
        "one image": (student[:1], teacher[:1]),
        "two classes": (student[:, :2], teacher[:, :2]),
        "zero": (torch.zeros_like(student), torch.zeros_like(teacher)),
        "largest half": (65504.0 * student.sign(), 65504.0 * teacher.sign()),
    }[case]
    student, teacher = (values.clamp(-65504.0, 65504.0).to(dtype) for values in (student, teacher))
    value, gradient = value_and_gradient(student, teacher, temperature)
    assert math.isfinite(value.item())
    assert bool(gradient.isfinite().all())
