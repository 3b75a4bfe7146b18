"""The contract that every registered loss keeps, the registry itself, and the weighted sum."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nas_distill.errors import ConfigError
from nas_distill.losses.functional import kd
from nas_distill.losses.registry import LOSSES, WEIGHT, DistillationLoss, LossEntry, LossRegistry
from nas_distill.records import Recipe

SHAPES = [(1, 2), (1, 10), (8, 2), (8, 10), (4, 100)]


def random_logits(images: int, classes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images * 1000 + classes)
    student, teacher = 3 * torch.randn(2, images, classes, dtype=torch.float64, generator=generator)
    return student.to(dtype), teacher.to(dtype)


def parameters_of(entry: LossEntry) -> dict[str, float]:
    return {name: value for name, value in entry.defaults.items() if name != WEIGHT}


@pytest.fixture(params=LOSSES.names())
def entry(request: pytest.FixtureRequest) -> LossEntry:
    return LOSSES.get(request.param)


@pytest.mark.parametrize(("images", "classes"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_loss_is_a_finite_scalar_that_teaches_the_student_alone(
    entry: LossEntry, images: int, classes: int, dtype: torch.dtype
) -> None:
    student, teacher = (values.requires_grad_() for values in random_logits(images, classes, dtype))
    loss = entry.function(student, teacher, **parameters_of(entry))
    assert loss.shape == ()
    assert loss.dtype == (dtype if dtype == torch.float64 else torch.float32)
    assert bool(loss.isfinite())
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.shape == student.shape
    assert bool(student.grad.isfinite().all())
    assert bool(student.grad.abs().sum() > 0)
    assert teacher.grad is None


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_a_loss_survives_constant_and_huge_logits(entry: LossEntry, scale: float) -> None:
    student, teacher = (scale * values for values in random_logits(4, 10, torch.float32))
    student.requires_grad_()
    loss = entry.function(student, teacher, **parameters_of(entry))
    loss.backward()  # type: ignore[no-untyped-call]
    assert bool(loss.isfinite())
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


def test_a_loss_leaves_its_inputs_alone_and_answers_the_same_twice(entry: LossEntry) -> None:
    student, teacher = random_logits(4, 10)
    kept = student.clone(), teacher.clone()
    first = entry.function(student, teacher, **parameters_of(entry))
    assert torch.equal(first, entry.function(student, teacher, **parameters_of(entry)))
    assert torch.equal(student, kept[0])
    assert torch.equal(teacher, kept[1])


def test_a_step_against_the_gradient_lowers_a_loss(entry: LossEntry) -> None:
    student, teacher = random_logits(8, 10)
    student.requires_grad_()
    loss = entry.function(student, teacher, **parameters_of(entry))
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    stepped = entry.function(student.detach() - 1e-3 * student.grad, teacher, **parameters_of(entry))
    assert stepped.item() < loss.item()


def test_a_loss_says_what_it_is_and_where_it_comes_from(entry: LossEntry) -> None:
    assert entry.equation.strip()
    assert re.search(r"\d{4}, arXiv \d{4}\.\d{4,5}", entry.paper)
    documentation = inspect.getdoc(entry.function)
    assert documentation
    for name in parameters_of(entry):
        assert f"{name}:" in documentation, f"the parameter {name} is documented"


def test_the_defaults_of_a_loss_are_within_its_own_rules(entry: LossEntry) -> None:
    assert entry.positive <= entry.defaults.keys()
    assert entry.resolve({}) == dict(entry.defaults)
    assert entry.resolve(entry.defaults) == dict(entry.defaults)
    assert all(entry.defaults[name] > 0 for name in entry.positive)


def test_a_parameter_out_of_range_is_named(entry: LossEntry) -> None:
    for name in entry.defaults:
        field = re.escape(f"recipe.losses.{entry.name}.{name}: ")
        with pytest.raises(ConfigError, match=field + "-1.0 must be"):
            entry.resolve({name: -1.0})
        if name in entry.positive:
            with pytest.raises(ConfigError, match=field + "0.0 must be above 0"):
                entry.resolve({name: 0.0})
        else:
            assert entry.resolve({name: 0.0})[name] == 0.0


def test_an_unknown_parameter_is_named_with_the_nearest(entry: LossEntry) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.losses\.{entry.name}\.wieght: .*did you mean 'weight'"):
        entry.resolve({"wieght": 1.0})


def test_the_shipped_names() -> None:
    assert LOSSES.names() == tuple(sorted(LOSSES.names()))
    assert "kd" in LOSSES.names()
    assert dict(LOSSES.get("kd").defaults) == {"weight": 0.9, "temperature": 4.0}


def test_an_unknown_loss_lists_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.losses: no loss is called 'dk'; did you mean 'kd'\? known: .*kd"):
        LOSSES.get("dk")


def test_a_name_is_registered_once() -> None:
    registry = LossRegistry()

    def register() -> None:
        registry.register("one", kd, weight=1.0, positive=("temperature",), equation="e", paper="p")

    register()
    with pytest.raises(ValueError, match="'one' is registered already"):
        register()
    assert registry.names() == ("one",)


def test_the_sum_weighs_and_names_its_parts() -> None:
    student, teacher = random_logits(6, 4)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    recipe = Recipe(losses={"kd": {"weight": 0.7, "temperature": 2.0}}, label_weight=0.3, label_smoothing=0.1)
    parts = DistillationLoss(recipe)(student, teacher, labels)
    assert parts.keys() == {"total", "label", "kd"}
    label = cross_entropy(student.float(), labels, label_smoothing=0.1)
    assert torch.equal(parts["label"], label)
    assert torch.equal(parts["kd"], kd(student, teacher, temperature=2.0))
    assert parts["total"].item() == pytest.approx(0.3 * label.item() + 0.7 * parts["kd"].item(), rel=1e-6)


def test_given_parameters_go_over_the_defaults() -> None:
    student, teacher = random_logits(6, 4)
    parts = DistillationLoss(Recipe(losses={"kd": {"temperature": 1.0}}, label_weight=0.0))(
        student, teacher, torch.zeros(6, dtype=torch.int64)
    )
    assert parts["total"].item() == pytest.approx(0.9 * kd(student, teacher, temperature=1.0).item(), rel=1e-6)


def test_without_losses_no_teacher_is_needed() -> None:
    student, _ = random_logits(6, 4)
    control = DistillationLoss(Recipe(losses={}, label_weight=1.0))
    assert not control.needs_teacher
    assert DistillationLoss(Recipe()).needs_teacher
    parts = control(student, None, torch.zeros(6, dtype=torch.int64))
    assert parts.keys() == {"total", "label"}
    assert torch.equal(parts["total"], parts["label"])


def test_a_recipe_is_checked_when_the_sum_is_made() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.losses\.kd\.temperature: 0\.0 must be above 0"):
        DistillationLoss(Recipe(losses={"kd": {"temperature": 0.0}}))
    with pytest.raises(ConfigError, match="no loss is called 'hinton'"):
        DistillationLoss(Recipe(losses={"hinton": {}}))
