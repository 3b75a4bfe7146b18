"""The weighted sum that a recipe asks for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nas_distill.errors import ConfigError, TeacherError
from nas_distill.losses.functional import dist, dkd, kd, standardised
from nas_distill.losses.registry import LOSSES, SERVED, DistillationLoss, Need
from nas_distill.records import Recipe

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
TRAINS_PARTS = SERVED | {Need.LEARNING}
SERVED_NAMES = [name for name in LOSSES.names() if LOSSES.get(name).needs <= SERVED]


def random_logits(images: int = 6, classes: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images * 1000 + classes)
    student, teacher = 3 * torch.randn(2, images, classes, dtype=torch.float64, generator=generator)
    return student.to(dtype), teacher.to(dtype)


def make_sum(label_weight: float, losses: dict[str, dict[str, float]]) -> DistillationLoss:
    return DistillationLoss(Recipe(losses=losses, label_weight=label_weight), serves=TRAINS_PARTS)


def make(**losses: dict[str, float]) -> DistillationLoss:
    return make_sum(0.1, losses)


def test_the_sum_weighs_and_names_its_parts() -> None:
    student, teacher = random_logits()
    losses = {"kd": {"weight": 0.7, "temperature": 2.0}, "dkd": {"weight": 0.2, "beta": 2.0}, "dist": {}}
    parts = DistillationLoss(Recipe(losses=losses, label_weight=0.3, label_smoothing=0.1))(student, teacher, LABELS)
    assert list(parts) == ["total", "label", "dist", "dkd", "kd"]
    assert torch.equal(parts["label"], cross_entropy(student, LABELS, label_smoothing=0.1))
    assert torch.equal(parts["kd"], kd(student, teacher, temperature=2.0))
    assert torch.equal(parts["dkd"], dkd(student, teacher, LABELS, beta=2.0))
    assert torch.equal(parts["dist"], dist(student, teacher))
    expected = 0.3 * parts["label"] + 0.7 * parts["kd"] + 0.2 * parts["dkd"] + parts["dist"]
    torch.testing.assert_close(parts["total"], expected)


def test_given_parameters_go_over_the_defaults() -> None:
    student, teacher = random_logits()
    parts = make_sum(0.0, {"kd": {"temperature": 1.0}})(student, teacher, LABELS)
    assert parts["total"].item() == pytest.approx(0.9 * kd(student, teacher, temperature=1.0).item())


@pytest.mark.parametrize("name", SERVED_NAMES)
@pytest.mark.parametrize("mixed", [False, True])
def test_every_served_loss_trains_on_labels_and_on_shares(name: str, mixed: bool) -> None:
    student, teacher = (values.requires_grad_() for values in random_logits(dtype=torch.float32))
    shares = 0.7 * torch.nn.functional.one_hot(LABELS, 4) + 0.3 * torch.nn.functional.one_hot(LABELS.flip(0), 4)
    parts = make_sum(0.1, {name: {}})(student, teacher, shares if mixed else LABELS)
    parts["total"].backward()  # type: ignore[no-untyped-call]
    assert parts.keys() == {"total", "label", name}
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    assert teacher.grad is None


def test_shares_in_float32_suit_logits_of_any_type() -> None:
    shares = torch.nn.functional.one_hot(LABELS, 4).float()
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        student, teacher = random_logits(dtype=dtype)
        parts = make(kd={}, wsld={}, dkd={})(student, teacher, shares)
        assert parts["total"].dtype == (dtype if dtype == torch.float64 else torch.float32)
        assert parts["label"].item() == pytest.approx(cross_entropy(student.double(), LABELS).item(), rel=1e-5)


def test_standardising_is_a_parameter_of_a_logit_loss() -> None:
    student, teacher = random_logits()
    parts = make(kd={"standardise": 1.0, "temperature": 2.0})(student, teacher, LABELS)
    assert torch.equal(parts["kd"], standardised(kd)(student, teacher, temperature=2.0))
    assert torch.equal(parts["label"], cross_entropy(student, LABELS)), "the labels are met by the plain logits"


@pytest.mark.parametrize("losses", [{}, {"none": {}}])
def test_without_losses_no_teacher_is_needed(losses: dict[str, dict[str, float]]) -> None:
    student, _ = random_logits()
    control = make_sum(1.0, losses)
    assert not control.needs_teacher
    assert make(kd={}).needs_teacher
    parts = control(student, None, LABELS)
    assert parts.keys() == {"total", "label"}
    assert torch.equal(parts["total"], parts["label"])


@pytest.mark.parametrize(
    ("label_weight", "losses", "expected"),
    [
        (1.0, {"none": {}, "kd": {}}, r"recipe\.losses\.none: it is the control, .*; leave it or kd out"),
        (1.0, {"none": {"weight": 1.0}}, r"recipe\.losses\.none\.weight: the control takes no parameters"),
        (1.0, {"kd": {"temperature": 0.0}}, r"recipe\.losses\.kd\.temperature: 0\.0 must be above 0 \(0\.01 to 1000\)"),
        (1.0, {"kd": {"standardise": 0.5}}, r"recipe\.losses\.kd\.standardise: 0\.5 must be 0 or 1"),
        (1.0, {"cc": {"order": 1.5}}, r"recipe\.losses\.cc: it needs the penultimate embeddings"),
        (1.0, {"hinton": {}}, "no loss is called 'hinton'"),
    ],
)
def test_a_recipe_is_checked_when_the_sum_is_made(
    label_weight: float, losses: dict[str, dict[str, float]], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        DistillationLoss(Recipe(losses=losses, label_weight=label_weight))


@pytest.mark.parametrize("name", sorted(set(LOSSES.names()) - set(SERVED_NAMES)))
def test_what_training_does_not_provide_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DistillationLoss(Recipe(losses={name: {}}))
    message = str(caught.value)
    assert message.startswith(f"recipe.losses.{name}: it needs ")
    for need in LOSSES.get(name).needs - SERVED:
        assert need.meaning in message
    assert message.endswith(f"take one of {', '.join(SERVED_NAMES)}")


def test_a_teacher_of_other_classes_is_refused() -> None:
    student, _ = random_logits()
    with pytest.raises(TeacherError, match=r"\[6, 4\] against teacher logits of shape \[6, 5\]"):
        make(kd={})(student, random_logits(6, 5)[1], LABELS)


def test_only_learned_losses_bring_parameters() -> None:
    everything = make_sum(0.1, {name: {} for name in SERVED_NAMES if Need.LEARNING not in LOSSES.get(name).needs})
    assert list(everything.parameters()) == []
    assert everything.state_dict() == {}
    learned = make(ctkd={}, kd={})
    assert [name for name, _ in learned.named_parameters()] == ["terms.ctkd.learned.theta"]


def test_a_learned_loss_is_trained_told_the_epoch_kept_and_copied() -> None:
    student, teacher = random_logits(dtype=torch.float32)
    loss = make(ctkd={"curriculum_epochs": 4.0})
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    before = loss(student, teacher, LABELS)["ctkd"]
    loss.begin_epoch(3)
    loss(student, teacher, LABELS)["total"].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    after = loss(student, teacher, LABELS)["ctkd"]
    assert after > before
    again = make(ctkd={"curriculum_epochs": 4.0})
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(student, teacher, LABELS)["ctkd"], after)
    other = copy.deepcopy(loss)
    with torch.no_grad():
        next(other.parameters()).fill_(5.0)
    assert not torch.equal(other(student, teacher, LABELS)["ctkd"], after)
    assert torch.equal(loss(student, teacher, LABELS)["ctkd"], after)
