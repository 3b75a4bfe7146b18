"""The contract of every registered loss. Each test loops over the registry; a failure names the loss and the case."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nas_distill.errors import ConfigError, TeacherError
from nas_distill.losses.functional import standardise
from nas_distill.losses.registry import LOSSES, STANDARDISE, WEIGHT, LossEntry, LossTerm, Need
from tests.losses.cases import case

SHAPES = [(1, 2), (1, 10), (8, 2), (8, 10), (4, 100)]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
LARGEST_HALF = 65504.0

AT_TEACHER = {
    **dict.fromkeys(("kd", "dkd", "dist", "ctkd", "mlkd", "hint", "at", "sp", "rkd", "pkt", "cc", "simkd"), "zero"),
    "wsld": "stationary",  # a cross-entropy: the teacher's entropy remains
    "nkd": "elsewhere",  # its first term has a gradient towards the label
    "vid": "stationary",  # the term of the variance remains
}
"""Value and gradient of each loss where student and teacher have the same outputs."""

Pair = tuple[Tensor, Tensor]


def random_pair(entry: LossEntry, images: int = 8, classes: int = 10, dtype: torch.dtype = torch.float64) -> Pair:
    """Return random student and teacher outputs that the loss compares. Their widths differ where they may."""
    shapes = ((images, classes), (images, classes))
    if Need.EMBEDDING in entry.needs:
        shapes = ((images, 2 * classes), (images, 3 * classes))
    if Need.FEATURES in entry.needs:
        channels = classes if entry.uses_teacher_head else 2 * classes
        shapes = ((images, classes, 6, 6), (images, channels, 3, 3))  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(images * 1000 + classes)
    student, teacher = (3 * torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return student.to(dtype), teacher.to(dtype)


def targets_for(student: Tensor) -> Tensor:
    return torch.arange(len(student)) * 7 % student.shape[1]


def make_term(entry: LossEntry, pair: Pair, **given: float) -> LossTerm:
    torch.manual_seed(0)
    student, teacher = (tuple(values.shape[1:]) for values in pair)
    term = LossTerm(entry, entry.resolve(given), student=student, teacher=teacher)
    return term.double() if pair[0].dtype == torch.float64 else term


def value_and_gradient(term: LossTerm, student: Tensor, teacher: Tensor) -> Pair:
    student = student.clone().requires_grad_()
    value = term(student, teacher, targets_for(student))
    value.backward()
    assert student.grad is not None
    return value.detach(), student.grad


EVERY_LOSS = [LOSSES.get(name) for name in LOSSES.names()]
STANDARDISED = [entry for entry in EVERY_LOSS if STANDARDISE in entry.defaults]
TEMPERATURES = ("temperature", "lowest")
WITH_TEMPERATURE = [(entry, name) for entry in EVERY_LOSS for name in TEMPERATURES if name in entry.rules]


def test_a_loss_is_a_finite_scalar_whose_gradient_reaches_the_student_only() -> None:
    for entry, (images, classes), dtype in itertools.product(EVERY_LOSS, SHAPES, DTYPES):
        with case(entry.name, images, classes, dtype):
            student, teacher = (values.requires_grad_() for values in random_pair(entry, images, classes, dtype))
            loss = make_term(entry, (student, teacher))(student, teacher, targets_for(student))
            assert loss.shape == ()
            assert loss.dtype == (dtype if dtype == torch.float64 else torch.float32)
            assert bool(loss.isfinite())
            loss.backward()
            assert student.grad is not None
            assert student.grad.shape == student.shape
            assert student.grad.dtype == dtype
            assert bool(student.grad.isfinite().all())
            if images > 1 and classes > 2:
                assert bool(student.grad.abs().sum() > 0)
            assert teacher.grad is None


EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "constant": lambda values: torch.full_like(values, 1.5),
    "constant rows": lambda values: values.flatten(1)[:, :1].reshape(-1, *[1] * (values.dim() - 1)).expand_as(values),
    "equal images": lambda values: values[:1].expand_as(values),
    "all but constant": lambda values: 1.5 + 1e-7 * values,
    "huge": lambda values: 1e4 * values,
    "largest half": lambda values: LARGEST_HALF * values.sign(),
}


def test_value_and_gradient_are_finite_for_extreme_inputs() -> None:
    # Losses compute bfloat16 in float32, which has the same range, and no training uses float64.
    dtypes = (torch.float32, torch.float16)
    for entry, dtype, images, classes in itertools.product(EVERY_LOSS, dtypes, (1, 4), (2, 10)):
        plain_student, plain_teacher = random_pair(entry, images, classes)
        for given in [{}, {STANDARDISE: 1.0}] if entry in STANDARDISED else [{}]:
            term = make_term(entry, (plain_student.to(dtype), plain_teacher.to(dtype)), **given)
            for extreme, make_extreme in EXTREMES.items():
                hard_student, hard_teacher = make_extreme(plain_student), make_extreme(plain_teacher)
                pairs = {
                    "extreme student": (hard_student, plain_teacher),
                    "extreme teacher": (plain_student, hard_teacher),
                    "both extreme": (hard_student, hard_teacher),
                }
                for which, pair in pairs.items():
                    with case(entry.name, extreme, dtype, images, classes, given, which):
                        student, teacher = (v.clamp(-LARGEST_HALF, LARGEST_HALF).to(dtype).contiguous() for v in pair)
                        value, gradient = value_and_gradient(term, student, teacher)
                        assert math.isfinite(value.item())
                        assert bool(gradient.isfinite().all())


def test_value_and_gradient_are_finite_at_the_bounds_of_the_temperature() -> None:
    assert len(WITH_TEMPERATURE) == 7
    for (entry, name), temperature in itertools.product(WITH_TEMPERATURE, (0.01, 1000.0)):
        with case(entry.name, temperature):
            with pytest.raises(ConfigError) as caught:
                entry.resolve({name: temperature * (2 if temperature > 1 else 0.5)})
            assert caught.value.code == "losses.parameter_out_of_range"
        for scale in (0.0, 1.0, LARGEST_HALF):
            with case(entry.name, temperature, scale):
                student, teacher = (scale * values.clamp(-1, 1) for values in random_pair(entry, dtype=torch.float32))
                term = make_term(entry, (student, teacher), **{name: temperature})
                value, gradient = value_and_gradient(term, student, teacher)
                assert math.isfinite(value.item())
                assert bool(gradient.isfinite().all())


def test_a_loss_does_not_change_its_inputs_and_is_deterministic() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            student, teacher = random_pair(entry)
            copies = student.clone(), teacher.clone()
            term = make_term(entry, copies)
            first = term(student, teacher, targets_for(student))
            assert torch.equal(first, term(student, teacher, targets_for(student)))
            assert torch.equal(student, copies[0])
            assert torch.equal(teacher, copies[1])


def test_a_step_against_the_gradient_lowers_the_loss() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            student, teacher = random_pair(entry)
            term = make_term(entry, (student, teacher))
            value, gradient = value_and_gradient(term, student, teacher)
            stepped = student - 1e-4 * gradient / gradient.norm()
            assert term(stepped, teacher, targets_for(student)).item() < value.item()


def test_the_gradient_agrees_with_finite_differences_except_for_wsld() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            student, teacher = random_pair(entry, 3, 4)
            term = make_term(entry, (student, teacher))
            targets = targets_for(student)
            student.requires_grad_()
            agrees = torch.autograd.gradcheck(
                lambda values, term=term, teacher=teacher, targets=targets: term(values, teacher, targets),
                (student,),
                raise_exception=False,
            )
            assert agrees == (entry.name != "wsld"), "no gradient flows through the weights of wsld"


def test_the_order_of_the_images_does_not_matter() -> None:
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    for entry in EVERY_LOSS:
        with case(entry.name):
            student, teacher = random_pair(entry)
            term, targets = make_term(entry, (student, teacher)), targets_for(student)
            plain = term(student, teacher, targets).item()
            assert term(student[order], teacher[order], targets[order]).item() == pytest.approx(plain, rel=1e-12)


def test_value_and_gradient_where_the_student_equals_the_teacher() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            _, teacher = random_pair(entry)
            student = teacher.clone().requires_grad_()
            extra = [targets_for(teacher)] if Need.LABELS in entry.needs else []
            if entry.name in ("ctkd", "vid"):
                extra = [torch.full(() if entry.name == "ctkd" else teacher.shape[1:2], 4.0, dtype=torch.float64)]
            value = entry.function(student, teacher, *extra)
            value.backward()  # type: ignore[no-untyped-call]
            assert student.grad is not None
            # The authors' small constants in DIST keep a perfect correlation just below 1.
            assert (abs(value.item()) < 1e-4) == (AT_TEACHER[entry.name] == "zero")
            assert (student.grad.abs().max().item() < 1e-5) == (AT_TEACHER[entry.name] != "elsewhere")


def test_half_precision_inputs_are_computed_in_float32() -> None:
    for entry, dtype in itertools.product(EVERY_LOSS, (torch.float16, torch.bfloat16)):
        with case(entry.name, dtype):
            student, teacher = random_pair(entry, dtype=dtype)
            term, targets = make_term(entry, (student, teacher)), targets_for(student)
            in_float32 = term(student.float(), teacher.float(), targets)
            assert torch.equal(term(student, teacher, targets), in_float32)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert torch.equal(term(student, teacher, targets), in_float32)


def test_exactly_the_losses_of_logits_can_be_standardised() -> None:
    assert [entry for entry in EVERY_LOSS if Need.LOGITS in entry.needs] == STANDARDISED


def test_standardising_applies_the_loss_to_standardised_logits() -> None:
    for entry in STANDARDISED:
        with case(entry.name):
            student, teacher = random_pair(entry)
            targets = targets_for(student)
            plain, scored = make_term(entry, (student, teacher)), make_term(entry, (student, teacher), standardise=1.0)
            expected = plain(standardise(student), standardise(teacher), targets)
            assert torch.equal(scored(student, teacher, targets), expected)
            moved = scored(5 * student + 3, 0.5 * teacher - 7, targets).item()
            assert moved == pytest.approx(expected.item(), rel=1e-5), "scale and offset of the logits do not matter"


def test_a_teacher_batch_of_other_images_is_rejected() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            student, teacher = random_pair(entry)
            term = make_term(entry, (student, teacher))
            with pytest.raises(TeacherError) as caught:
                term(student, teacher[:4], targets_for(student))
            of_logits = Need.LOGITS in entry.needs
            assert caught.value.code == ("losses.shape_mismatch" if of_logits else "losses.batch_mismatch")


def test_a_loss_documents_its_equation_paper_and_parameters() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            assert entry.equation.strip()
            assert re.search(r" \d{4}, (arXiv \d{4}\.\d{4,5}|doi:10\.)", entry.paper)
            assert entry.needs & {Need.LOGITS, Need.EMBEDDING, Need.FEATURES}
            assert (Need.LEARNING in entry.needs) == (entry.learned is not None)
            documentation = inspect.getdoc(entry.learned or entry.function)
            assert documentation
            for name in entry.function_parameters(entry.defaults):
                assert f"{name}:" in documentation, f"the parameter {name} is documented"
            assert entry.paper.rpartition(" ")[2].removeprefix("doi:") in (inspect.getdoc(entry.function) or "")


def test_the_defaults_of_a_loss_satisfy_its_rules() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            assert entry.rules.keys() == entry.defaults.keys()
            assert entry.resolve({}) == dict(entry.defaults)
            assert entry.resolve(entry.defaults) == dict(entry.defaults)
            assert entry.defaults[WEIGHT] > 0


def test_a_parameter_out_of_range_is_an_error_with_its_field() -> None:
    for entry in EVERY_LOSS:
        for (name, rule), value in itertools.product(entry.rules.items(), (-1.0, 0.0, 0.5, 1.0)):
            with case(entry.name, name, value):
                if rule.holds(value):
                    assert entry.resolve({name: value})[name] == value
                    continue
                with pytest.raises(ConfigError) as caught:
                    entry.resolve({name: value})
                assert caught.value.code == "losses.parameter_out_of_range"
                assert caught.value.field == f"recipe.losses.{entry.name}.{name}"
        with case(entry.name):
            assert not any(rule.holds(-1.0) for rule in entry.rules.values())


def test_an_unknown_parameter_is_an_error_with_a_suggestion() -> None:
    for entry in EVERY_LOSS:
        with case(entry.name):
            with pytest.raises(ConfigError) as caught:
                entry.resolve({"wieght": 1.0})
            assert caught.value.code == "losses.parameter_unknown"
            assert caught.value.field == f"recipe.losses.{entry.name}.wieght"
            assert "'weight'" in str(caught.value)
