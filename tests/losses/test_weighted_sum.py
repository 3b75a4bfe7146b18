"""The weighted sum of the losses of a recipe."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nas_distill.errors import ConfigError, TeacherError
from nas_distill.losses.functional import at, dist, dkd, kd, sp, standardise
from nas_distill.losses.registry import LOSSES, DistillationLoss, Need
from nas_distill.model_outputs import ModelOutputs, OutputRequest, OutputShapes
from nas_distill.records import Recipe
from nas_distill.records.recipe import Adaptation

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
OF_LOGITS = [name for name in LOSSES.names() if Need.LOGITS in LOSSES.get(name).needs]


def random_logits(images: int = 6, classes: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images * 1000 + classes)
    student, teacher = 3 * torch.randn(2, images, classes, dtype=torch.float64, generator=generator)
    return student.to(dtype), teacher.to(dtype)


def make_sum(label_weight: float, losses: dict[str, dict[str, float]]) -> DistillationLoss:
    return DistillationLoss(Recipe(losses=losses, label_weight=label_weight))


def make(**losses: dict[str, float]) -> DistillationLoss:
    return make_sum(0.1, losses)


def test_the_total_is_the_weighted_sum_of_the_named_parts() -> None:
    student, teacher = random_logits()
    losses = {"kd": {"weight": 0.7, "temperature": 2.0}, "dkd": {"weight": 0.2, "beta": 2.0}, "dist": {}}
    parts = DistillationLoss(Recipe(losses=losses, label_weight=0.3, label_smoothing=0.1))(
        ModelOutputs(student), ModelOutputs(teacher), LABELS
    )
    assert list(parts) == ["total", "label", "dist", "dkd", "kd"]
    assert torch.equal(parts["label"], cross_entropy(student, LABELS, label_smoothing=0.1))
    assert torch.equal(parts["kd"], kd(student, teacher, temperature=2.0))
    assert torch.equal(parts["dkd"], dkd(student, teacher, LABELS, beta=2.0))
    assert torch.equal(parts["dist"], dist(student, teacher))
    expected = 0.3 * parts["label"] + 0.7 * parts["kd"] + 0.2 * parts["dkd"] + parts["dist"]
    torch.testing.assert_close(parts["total"], expected)


def test_given_parameters_override_the_defaults() -> None:
    student, teacher = random_logits()
    parts = make_sum(0.0, {"kd": {"temperature": 1.0}})(ModelOutputs(student), ModelOutputs(teacher), LABELS)
    assert parts["total"].item() == pytest.approx(0.9 * kd(student, teacher, temperature=1.0).item())


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("mixed", [False, True])
def test_every_loss_of_logits_accepts_labels_and_class_shares(name: str, mixed: bool) -> None:
    student, teacher = (values.requires_grad_() for values in random_logits(dtype=torch.float32))
    shares = 0.7 * torch.nn.functional.one_hot(LABELS, 4) + 0.3 * torch.nn.functional.one_hot(LABELS.flip(0), 4)
    parts = make_sum(0.1, {name: {}})(ModelOutputs(student), ModelOutputs(teacher), shares if mixed else LABELS)
    parts["total"].backward()
    assert parts.keys() == {"total", "label", name}
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    assert teacher.grad is None


def test_float32_shares_work_with_logits_of_any_type() -> None:
    shares = torch.nn.functional.one_hot(LABELS, 4).float()
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        student, teacher = random_logits(dtype=dtype)
        parts = make(kd={}, wsld={}, dkd={})(ModelOutputs(student), ModelOutputs(teacher), shares)
        assert parts["total"].dtype == (dtype if dtype == torch.float64 else torch.float32)
        assert parts["label"].item() == pytest.approx(cross_entropy(student.double(), LABELS).item(), rel=1e-5)


def test_standardise_is_a_parameter_of_losses_of_logits() -> None:
    student, teacher = random_logits()
    parts = make(kd={"standardise": 1.0, "temperature": 2.0})(ModelOutputs(student), ModelOutputs(teacher), LABELS)
    assert torch.equal(parts["kd"], kd(standardise(student), standardise(teacher), temperature=2.0))
    assert torch.equal(parts["label"], cross_entropy(student, LABELS)), "the cross-entropy uses the plain logits"


@pytest.mark.parametrize("losses", [{}, {"none": {}}])
def test_without_losses_no_teacher_is_needed(losses: dict[str, dict[str, float]]) -> None:
    student, _ = random_logits()
    control = make_sum(1.0, losses)
    assert not control.uses_teacher
    assert make(kd={}).uses_teacher
    parts = control(ModelOutputs(student), None, LABELS)
    assert parts.keys() == {"total", "label"}
    assert torch.equal(parts["total"], parts["label"])


@pytest.mark.parametrize(
    ("losses", "code", "field"),
    [
        ({"none": {}, "kd": {}}, "control_with_others", "losses.none"),
        ({"none": {"weight": 1.0}}, "control_with_parameters", "losses.none.weight"),
        ({"kd": {"temperature": 0.0}}, "parameter_out_of_range", "losses.kd.temperature"),
        ({"kd": {"standardise": 0.5}}, "parameter_out_of_range", "losses.kd.standardise"),
        ({"cc": {"order": 1.5}}, "parameter_out_of_range", "losses.cc.order"),
        ({"hinton": {}}, "unknown", "losses"),
    ],
)
def test_a_recipe_is_checked_when_its_loss_is_built(losses: dict[str, dict[str, float]], code: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DistillationLoss(Recipe(losses=losses, label_weight=1.0))
    assert (caught.value.code, caught.value.field) == (f"losses.{code}", f"recipe.{field}")


def test_a_teacher_with_other_classes_is_rejected() -> None:
    student, _ = random_logits()
    with pytest.raises(TeacherError) as caught:
        make(kd={})(ModelOutputs(student), ModelOutputs(random_logits(6, 5)[1]), LABELS)
    assert caught.value.code == "losses.shape_mismatch"


def test_only_learned_losses_have_parameters() -> None:
    everything = make_sum(0.1, {name: {} for name in OF_LOGITS if Need.LEARNING not in LOSSES.get(name).needs})
    assert list(everything.parameters()) == []
    assert everything.state_dict() == {}
    learned = make(ctkd={}, kd={})
    assert [name for name, _ in learned.named_parameters()] == ["terms.ctkd.learned.theta"]


def test_a_learned_loss_can_be_trained_restored_and_copied() -> None:
    student, teacher = random_logits(dtype=torch.float32)
    loss = make(ctkd={"curriculum_epochs": 4.0})
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    before = loss(ModelOutputs(student), ModelOutputs(teacher), LABELS)["ctkd"]
    loss.begin_epoch(3)
    loss(ModelOutputs(student), ModelOutputs(teacher), LABELS)["total"].backward()
    optimizer.step()
    after = loss(ModelOutputs(student), ModelOutputs(teacher), LABELS)["ctkd"]
    assert after > before
    again = make(ctkd={"curriculum_epochs": 4.0})
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(ModelOutputs(student), ModelOutputs(teacher), LABELS)["ctkd"], after)
    other = copy.deepcopy(loss)
    with torch.no_grad():
        next(other.parameters()).fill_(5.0)
    assert not torch.equal(other(ModelOutputs(student), ModelOutputs(teacher), LABELS)["ctkd"], after)
    assert torch.equal(loss(ModelOutputs(student), ModelOutputs(teacher), LABELS)["ctkd"], after)


ADAPTED = [{}, {"sample_weighting": "confidence"}, {"sample_weighting": "correctness"}, {"release": True}]


@pytest.mark.parametrize("adaptive", ADAPTED)
@pytest.mark.parametrize("name", OF_LOGITS)
def test_adaptation_does_not_change_the_logged_parts(name: str, adaptive: dict[str, Any]) -> None:
    student, teacher = random_logits()
    recipe = Recipe(losses={name: {}}, label_weight=0.1)
    plain = DistillationLoss(recipe)(ModelOutputs(student), ModelOutputs(teacher), LABELS)
    adapted = recipe.model_copy(update={"adaptive": Adaptation(**adaptive)})
    parts = DistillationLoss(adapted, num_classes=4)(ModelOutputs(student), ModelOutputs(teacher), LABELS)
    for part, value in plain.items():
        torch.testing.assert_close(parts[part], value)


def test_released_classes_are_trained_on_their_labels_only() -> None:
    student, teacher = random_logits()
    recipe = Recipe(losses={"kd": {}}, label_weight=0.1, adaptive=Adaptation(release=True))
    loss = DistillationLoss(recipe, num_classes=4)
    loss.released[1] = True
    free = (LABELS == 1)[:, None]
    (found,) = _gradients(loss, student, teacher)
    (distilled,) = _gradients(make(kd={}), student, teacher)
    (control,) = _gradients(make_sum(1.0, {}), student, teacher)
    torch.testing.assert_close(found, torch.where(free, control, distilled))


def test_the_label_weight_rises_when_the_teacher_factor_falls() -> None:
    student, teacher = random_logits()
    loss = make(kd={})
    loss.begin_epoch(3, factor=0.25)
    parts = loss(ModelOutputs(student), ModelOutputs(teacher), LABELS)
    expected = (0.1 + 0.75 * 0.9) * parts["label"] + 0.25 * 0.9 * parts["kd"]
    torch.testing.assert_close(parts["total"], expected)
    assert loss.uses_teacher


def test_with_factor_0_the_teacher_is_not_used() -> None:
    student, _ = random_logits()
    loss = make(kd={}, rkd={})
    loss.begin_epoch(3, factor=0.0)
    assert not loss.uses_teacher
    parts = loss(ModelOutputs(student), None, LABELS)
    assert set(parts) == {"total", "label"}
    assert torch.equal(parts["total"], parts["label"])


def test_the_temperature_follows_its_schedule() -> None:
    student, teacher = random_logits()
    adaptive = Adaptation(temperature_schedule="linear", temperature_end=1.0)
    loss = DistillationLoss(Recipe(losses={"kd": {"temperature": 5.0}}, epochs=5, adaptive=adaptive))
    for epoch, temperature in enumerate((5.0, 4.0, 3.0, 2.0, 1.0)):
        loss.begin_epoch(epoch)
        parts = loss(ModelOutputs(student), ModelOutputs(teacher), LABELS)
        torch.testing.assert_close(parts["kd"], kd(student, teacher, temperature=temperature))


def test_each_loss_gets_the_outputs_that_it_compares() -> None:
    generator = torch.Generator().manual_seed(0)

    def outputs(channels: int) -> ModelOutputs:
        maps = tuple(torch.randn(6, channels, side, side, generator=generator) for side in (8, 4))
        return ModelOutputs(torch.randn(6, 4, generator=generator), torch.randn(6, channels, generator=generator), maps)

    losses = {"kd": {}, "sp": {}, "at": {}, "hint": {"weight": 1.0}}
    student, teacher = outputs(3), outputs(5)
    shapes = [OutputShapes((c,), ((c, 8, 8), (c, 4, 4))) for c in (3, 5)]
    loss = DistillationLoss(Recipe(losses=losses), student=shapes[0], teacher=shapes[1])
    assert loss.required_outputs == OutputRequest(embedding=True, depths=(0.5, 1.0))
    parts = loss(student, teacher, LABELS)
    assert torch.equal(parts["kd"], kd(student.logits, teacher.logits))
    assert torch.equal(parts["at"], at(student.maps[1], teacher.maps[1]))
    assert student.embedding is not None
    assert teacher.embedding is not None
    assert torch.equal(parts["sp"], sp(student.embedding, teacher.embedding))
    assert bool(parts["hint"].isfinite())
    assert loss.state_dict()["terms.hint.learned.convolution.weight"].shape[:2] == (5, 3)


def _gradients(loss: DistillationLoss, student: Tensor, teacher: Tensor) -> tuple[Tensor, ...]:
    logits = student.clone().requires_grad_()
    return torch.autograd.grad(loss(ModelOutputs(logits), ModelOutputs(teacher), LABELS)["total"], logits)
