"""The contract that every registered loss unreleased, whatever it needs."""

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

SHAPES = [(1, 2), (1, 10), (8, 2), (8, 10), (4, 100)]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
LARGEST_HALF = 65504.0

AT_TEACHER = {
    **dict.fromkeys(("kd", "dkd", "dist", "ctkd", "mlkd", "hint", "at", "sp", "rkd", "pkt", "cc", "simkd"), "zero"),
    "wsld": "stationary",  # a cross-entropy: the teacher's entropy stays
    "nkd": "elsewhere",  # its first term draws to the label
    "vid": "stationary",  # the variance stays
}
"""What a loss is where student and teacher answer the same."""

Pair = tuple[Tensor, Tensor]


def answers(entry: LossEntry, images: int = 8, classes: int = 10, dtype: torch.dtype = torch.float64) -> Pair:
    """What the loss asks of student and teacher, random; where widths may differ they do."""
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


@pytest.fixture(params=LOSSES.names())
def entry(request: pytest.FixtureRequest) -> LossEntry:
    return LOSSES.get(request.param)


@pytest.mark.parametrize(("images", "classes"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_loss_is_a_finite_scalar_that_teaches_the_student_alone(
    entry: LossEntry, images: int, classes: int, dtype: torch.dtype
) -> None:
    student, teacher = (values.requires_grad_() for values in answers(entry, images, classes, dtype))
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


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("extreme", EXTREMES)
def test_value_and_gradient_stay_finite(entry: LossEntry, extreme: str, dtype: torch.dtype) -> None:
    switches = [{}, {STANDARDISE: 1.0}] if STANDARDISE in entry.defaults else [{}]
    for images, classes, given in itertools.product((1, 4), (2, 10), switches):
        plain_student, plain_teacher = answers(entry, images, classes)
        hard_student, hard_teacher = (EXTREMES[extreme](values) for values in (plain_student, plain_teacher))
        for pair in ((hard_student, plain_teacher), (plain_student, hard_teacher), (hard_student, hard_teacher)):
            student, teacher = (v.clamp(-LARGEST_HALF, LARGEST_HALF).to(dtype).contiguous() for v in pair)
            value, gradient = value_and_gradient(make_term(entry, (student, teacher), **given), student, teacher)
            assert math.isfinite(value.item())
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("temperature", [0.01, 1000.0])
def test_it_is_finite_at_the_ends_of_the_temperatures(entry: LossEntry, temperature: float) -> None:
    name = next((name for name in ("temperature", "lowest") if name in entry.rules), None)
    if name is None:
        return
    with pytest.raises(ConfigError, match="above 0"):
        entry.resolve({name: temperature * (2 if temperature > 1 else 0.5)})
    for scale in (0.0, 1.0, LARGEST_HALF):
        student, teacher = (scale * values.clamp(-1, 1) for values in answers(entry, dtype=torch.float32))
        term = make_term(entry, (student, teacher), **{name: temperature})
        value, gradient = value_and_gradient(term, student, teacher)
        assert math.isfinite(value.item())
        assert bool(gradient.isfinite().all())


def test_a_loss_leaves_its_inputs_alone_and_answers_the_same_twice(entry: LossEntry) -> None:
    student, teacher = answers(entry)
    kept = student.clone(), teacher.clone()
    term = make_term(entry, kept)
    first = term(student, teacher, targets_for(student))
    assert torch.equal(first, term(student, teacher, targets_for(student)))
    assert torch.equal(student, kept[0])
    assert torch.equal(teacher, kept[1])


def test_a_step_against_the_gradient_lowers_a_loss(entry: LossEntry) -> None:
    student, teacher = answers(entry)
    term = make_term(entry, (student, teacher))
    value, gradient = value_and_gradient(term, student, teacher)
    stepped = student - 1e-4 * gradient / gradient.norm()
    assert term(stepped, teacher, targets_for(student)).item() < value.item()


def test_the_gradient_is_that_of_the_value(entry: LossEntry) -> None:
    student, teacher = answers(entry, 3, 4)
    term = make_term(entry, (student, teacher))
    targets = targets_for(student)
    student.requires_grad_()
    is_right = torch.autograd.gradcheck(lambda given: term(given, teacher, targets), (student,), raise_exception=False)
    assert is_right == (entry.name != "wsld"), "the weights of wsld alone are constants to the gradient"


def test_the_order_of_the_images_does_not_count(entry: LossEntry) -> None:
    student, teacher = answers(entry)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    term, targets = make_term(entry, (student, teacher)), targets_for(student)
    plain = term(student, teacher, targets).item()
    assert term(student[order], teacher[order], targets[order]).item() == pytest.approx(plain, rel=1e-12)


def test_what_a_loss_is_where_the_student_equals_the_teacher(entry: LossEntry) -> None:
    _, teacher = answers(entry)
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_narrow_answers_are_computed_wide(entry: LossEntry, dtype: torch.dtype) -> None:
    student, teacher = answers(entry, dtype=dtype)
    term, targets = make_term(entry, (student, teacher)), targets_for(student)
    wide = term(student.float(), teacher.float(), targets)
    assert torch.equal(term(student, teacher, targets), wide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(term(student, teacher, targets), wide)


def test_standardising_is_the_wrapper(entry: LossEntry) -> None:
    assert (STANDARDISE in entry.defaults) == (Need.LOGITS in entry.needs)
    if STANDARDISE not in entry.defaults:
        return
    student, teacher = answers(entry)
    targets = targets_for(student)
    plain, scored = make_term(entry, (student, teacher)), make_term(entry, (student, teacher), standardise=1.0)
    expected = plain(standardise(student), standardise(teacher), targets)
    assert torch.equal(scored(student, teacher, targets), expected)
    moved = scored(5 * student + 3, 0.5 * teacher - 7, targets).item()
    assert moved == pytest.approx(expected.item(), rel=1e-5), "only the pattern of the logits counts"


def test_other_images_or_classes_are_refused(entry: LossEntry) -> None:
    student, teacher = answers(entry)
    term = make_term(entry, (student, teacher))
    with pytest.raises(TeacherError, match="both must"):
        term(student, teacher[:4], targets_for(student))


def test_a_loss_says_what_it_is_and_where_it_comes_from(entry: LossEntry) -> None:
    assert entry.equation.strip()
    assert re.search(r" \d{4}, (arXiv \d{4}\.\d{4,5}|doi:10\.)", entry.paper)
    assert entry.needs & {Need.LOGITS, Need.EMBEDDING, Need.FEATURES}
    assert (Need.LEARNING in entry.needs) == (entry.learned is not None)
    documentation = inspect.getdoc(entry.learned or entry.function)
    assert documentation
    for name in entry.function_parameters(entry.defaults):
        assert f"{name}:" in documentation, f"the parameter {name} is documented"
    assert entry.paper.rpartition(" ")[2].removeprefix("doi:") in (inspect.getdoc(entry.function) or "")


def test_the_defaults_of_a_loss_are_within_its_own_rules(entry: LossEntry) -> None:
    assert entry.rules.keys() == entry.defaults.keys()
    assert entry.resolve({}) == dict(entry.defaults)
    assert entry.resolve(entry.defaults) == dict(entry.defaults)
    assert entry.defaults[WEIGHT] > 0


def test_a_parameter_out_of_range_is_named(entry: LossEntry) -> None:
    for name, rule in entry.rules.items():
        field = re.escape(f"recipe.losses.{entry.name}.{name}: ")
        for value in (-1.0, 0.0, 0.5, 1.0):
            if rule.holds(value):
                assert entry.resolve({name: value})[name] == value
            else:
                with pytest.raises(ConfigError, match=f"{field}{value} must be {re.escape(rule.text)}$"):
                    entry.resolve({name: value})
        assert not rule.holds(-1.0)


def test_an_unknown_parameter_is_named_with_the_nearest(entry: LossEntry) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.losses\.{entry.name}\.wieght: .*did you mean 'weight'"):
        entry.resolve({"wieght": 1.0})
