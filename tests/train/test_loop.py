"""The training loop: resumption, metrics, early stopping, and what it learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas_distill.config import ExecutionConfig
from nas_distill.errors import TrialError
from nas_distill.model_outputs import ModelOutputs, OutputRequest, OutputShapes
from nas_distill.models.student import build_student
from nas_distill.records import EpochMetrics, ExecutionSettings, Recipe, StudentSpec
from nas_distill.records.recipe import Mix
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.loop import Trainer
from nas_distill.trial.context import TrialInputs
from tests.helpers import CPU, TINY_SPEC, SmallRun, open_trial_inputs

VIT_SPEC = StudentSpec(
    architecture="vit_tiny_patch16_224",
    arguments={"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
)


@pytest.fixture(scope="module")
def trial_inputs(small_run: SmallRun) -> TrialInputs:
    return open_trial_inputs(small_run.worker_config())


def make_trainer(
    trial_inputs: TrialInputs,
    recipe: Recipe,
    spec: StudentSpec = TINY_SPEC,
    seed: int = 3,
    execution: ExecutionConfig | None = None,
) -> Trainer:
    torch.manual_seed(seed)
    network = build_student(
        spec, num_classes=10, channels=1, image_size=8, drop_rate=recipe.dropout, drop_path_rate=recipe.drop_path
    )
    return Trainer(
        network,
        recipe=recipe,
        data=trial_inputs.data,
        targets=trial_inputs.targets,
        reference=trial_inputs.reference,
        seed=seed,
        device=CPU,
        execution=execution,
    )


def run_to_end(trainer: Trainer) -> list[EpochMetrics]:
    curve = []
    while not trainer.is_finished():
        curve.append(trainer.run_epoch())
    return curve


def without_time(curve: list[EpochMetrics]) -> list[dict[str, Any]]:
    return [point.model_dump(exclude={"wall_time_s"}) for point in curve]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, mine), (_, theirs) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name


RECIPES = {
    "default": Recipe(epochs=4, batch_size=32),
    "every random part": Recipe(epochs=4, batch_size=32, dropout=0.2, drop_path=0.2, early_stopping_patience=3),
    "a loss that learns": Recipe(epochs=4, batch_size=32, losses={"ctkd": {"curriculum_epochs": 2.0}}),
    "raw weights, sgd": Recipe(epochs=4, batch_size=32, ema_decay=0.0, optimizer="momentum", learning_rate=0.05),
}


RESUMED = [(TINY_SPEC, name) for name in RECIPES] + [(VIT_SPEC, "every random part")]


@pytest.mark.parametrize(("spec", "name"), RESUMED, ids=lambda value: getattr(value, "architecture", value))
def test_a_resumed_training_is_bit_identical(
    trial_inputs: TrialInputs, tmp_path: Path, spec: StudentSpec, name: str
) -> None:
    recipe = RECIPES[name]
    straight = make_trainer(trial_inputs, recipe, spec)
    curve = []
    for epoch in (1, 2, 3):
        curve.append(straight.run_epoch())
        if epoch != 2:
            save_state(tmp_path / f"{epoch}.safetensors", straight.state())
    curve += run_to_end(straight)
    weights = straight.finish()
    # A state that changed the training would show: the first resumed one is not saved again.
    for cut in (1, 3):
        torch.rand(17)  # another trial may have used the random state of the process
        second = make_trainer(trial_inputs, recipe, spec, seed=3)
        second.load(load_state(tmp_path / f"{cut}.safetensors"))
        assert without_time(curve[:cut] + run_to_end(second)) == without_time(curve), cut
        assert_same_weights(second.finish(), weights)


EXECUTIONS = [
    ExecutionConfig(precision=precision, memory_format=memory_format)
    for precision in ("float32", "bfloat16")
    for memory_format in ("contiguous", "channels_last")
]


# Every two of optimiser, precision and memory format meet.
@pytest.mark.parametrize(
    ("optimizer", "execution"),
    [
        ("adamw", EXECUTIONS[0]), ("adamw", EXECUTIONS[3]), ("adam", EXECUTIONS[1]), ("adam", EXECUTIONS[2]),
        ("momentum", EXECUTIONS[0]), ("momentum", EXECUTIONS[3]),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.precision}-{value.memory_format}",
)  # fmt: skip
def test_a_resumed_training_is_bit_identical_for_all_execution_settings(
    trial_inputs: TrialInputs, tmp_path: Path, optimizer: str, execution: ExecutionConfig
) -> None:
    # Wide enough for weights whose layout differs between the two memory formats, and for oneDNN (`_overruns`).
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (16, 20), "depths": (1, 1)})
    recipe = Recipe(epochs=3, batch_size=32, optimizer=optimizer, learning_rate=1e-2)
    straight = make_trainer(trial_inputs, recipe, spec, execution=execution)
    begun = [straight.run_epoch() for _ in range(2)]
    save_state(tmp_path / "state.safetensors", straight.state())
    ended = run_to_end(straight)
    assert straight.execution.memory_format == execution.memory_format
    assert len(begun + ended) == 3

    second = make_trainer(trial_inputs, recipe, spec, execution=execution)
    second.load(load_state(tmp_path / "state.safetensors"))
    assert without_time(run_to_end(second)) == without_time(ended)
    assert_same_weights(second.finish(), straight.finish())


def test_settings_chosen_on_another_kind_of_device_are_chosen_again(trial_inputs: TrialInputs) -> None:
    first = make_trainer(trial_inputs, Recipe(epochs=2, batch_size=32), execution=EXECUTIONS[-1])
    first.run_epoch()
    second = make_trainer(trial_inputs, Recipe(epochs=2, batch_size=32))
    second.load({**first.state(), "device": "cuda"})
    second.run_epoch()
    assert second.execution == ExecutionSettings()


def test_another_seed_gives_another_training(trial_inputs: TrialInputs) -> None:
    recipe = Recipe(epochs=1, batch_size=32)
    one, other = make_trainer(trial_inputs, recipe, seed=1), make_trainer(trial_inputs, recipe, seed=2)
    assert one.run_epoch().train_loss != other.run_epoch().train_loss


def test_a_student_learns_from_the_teacher_without_labels(trial_inputs: TrialInputs) -> None:
    recipe = Recipe(epochs=16, batch_size=16, learning_rate=2e-2, label_weight=0.0)
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (8, 16), "depths": (1, 1)})
    curve = run_to_end(make_trainer(trial_inputs, recipe, spec))
    assert curve[-1].agreement is not None
    assert curve[-1].agreement > 0.75
    assert curve[-1].divergence_nats is not None
    assert curve[0].divergence_nats is not None
    assert curve[-1].divergence_nats < 0.6 * curve[0].divergence_nats


def test_the_training_loss_is_the_weighted_sum_of_its_parts(trial_inputs: TrialInputs) -> None:
    recipe = Recipe(epochs=1, batch_size=32, label_weight=0.3, losses={"kd": {"weight": 0.7, "temperature": 2.0}})
    point = make_trainer(trial_inputs, recipe).run_epoch()
    assert set(point.loss_parts) == {"label", "kd"}
    assert point.train_loss == pytest.approx(0.3 * point.loss_parts["label"] + 0.7 * point.loss_parts["kd"], rel=1e-5)


def test_the_control_never_uses_the_teacher(trial_inputs: TrialInputs) -> None:
    class Rejecting:
        def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
            raise AssertionError("the control used the teacher")

        def shapes(self, images: Tensor, request: OutputRequest) -> OutputShapes:
            raise AssertionError("the control used the teacher")

    recipe = Recipe(epochs=1, batch_size=32, losses={}, label_weight=1.0)
    torch.manual_seed(0)
    trainer = Trainer(
        build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8),
        recipe=recipe,
        data=trial_inputs.data,
        targets=Rejecting(),
        reference=trial_inputs.reference,
        seed=0,
        device=CPU,
    )
    point = trainer.run_epoch()
    assert set(point.loss_parts) == {"label"}
    assert point.gap_points is not None


def test_metrics_are_of_the_moving_average(trial_inputs: TrialInputs) -> None:
    trainer = make_trainer(trial_inputs, Recipe(epochs=2, batch_size=32, learning_rate=3e-2, ema_decay=0.999))
    point = trainer.run_epoch()
    (batch,) = trial_inputs.data.validation.batches(torch.arange(160), 160, device=CPU)
    raw = trainer.state()["network"]
    average = trainer.state()["average"]
    assert not torch.equal(raw["fc.weight"], average["fc.weight"])
    kept = trainer.finish()
    assert torch.equal(kept.state_dict()["fc.weight"], average["fc.weight"])
    with torch.no_grad():
        logits = kept(trial_inputs.data.preprocess(batch.images))
    assert point.top1 == pytest.approx((logits.argmax(1) == batch.labels).float().mean().item())


def test_early_stopping_keeps_the_best_epoch(trial_inputs: TrialInputs) -> None:
    # A learning rate this high makes later epochs worse than the best one.
    recipe = Recipe(
        epochs=40, batch_size=32, learning_rate=0.2, optimizer="momentum", early_stopping_patience=2, ema_decay=0.0,
        gradient_clip_norm=0.0, warmup_share=0.0,
    )  # fmt: skip
    trainer = make_trainer(trial_inputs, recipe)
    curve = run_to_end(trainer)
    assert len(curve) < 40
    best = max(range(len(curve)), key=lambda i: (curve[i].top1, -curve[i].nll_nats))
    assert len(curve) - 1 - best == 2
    trainer.finish()
    kept = trainer.measure().metrics()
    assert (kept.top1, kept.nll_nats) == (curve[best].top1, curve[best].nll_nats)


def test_a_diverging_training_is_an_error(trial_inputs: TrialInputs) -> None:
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=1e30, optimizer="sgd", gradient_clip_norm=0.0)
    trainer = make_trainer(trial_inputs, recipe)
    with pytest.raises(TrialError) as caught:
        run_to_end(trainer)
    assert caught.value.code in ("train.loss_not_finite", "train.outputs_not_finite")
    assert caught.value.field == "recipe.learning_rate"


def test_the_learning_rate_rises_in_the_warm_up_and_then_falls(trial_inputs: TrialInputs) -> None:
    recipe = Recipe(epochs=6, batch_size=32, learning_rate=1e-2, warmup_share=0.2, min_learning_rate_share=0.05)
    rates = [point.learning_rate for point in run_to_end(make_trainer(trial_inputs, recipe))]
    assert max(rates) <= 1e-2
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] == pytest.approx(5e-4, rel=0.2)


def test_fewer_images_than_a_batch_make_one_step(trial_inputs: TrialInputs) -> None:
    point = make_trainer(trial_inputs, Recipe(epochs=1, batch_size=4096)).run_epoch()
    assert point.epoch == 1


def test_training_does_not_change_the_teacher(small_run: SmallRun) -> None:
    online = open_trial_inputs(small_run.worker_config(_online_knowledge(small_run)))
    before = small_run.teacher.weights_sha256()
    teacher = online.targets._teacher  # type: ignore[attr-defined]
    assert teacher.weights_sha256() == before
    point = make_trainer(online, Recipe(epochs=2, batch_size=32)).run_epoch()
    assert point.loss_parts["dist"] > 0
    assert teacher.weights_sha256() == before
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_online_and_stored_targets_train_the_same_student(small_run: SmallRun, trial_inputs: TrialInputs) -> None:
    online = open_trial_inputs(small_run.worker_config(_online_knowledge(small_run)))
    recipe = Recipe(epochs=4, batch_size=32)
    stored_curve = run_to_end(make_trainer(trial_inputs, recipe))
    online_curve = run_to_end(make_trainer(online, recipe))
    for mine, theirs in zip(stored_curve, online_curve, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)


def _online_knowledge(small: SmallRun) -> str:
    from nas_distill.callbacks import NullProgress
    from nas_distill.knowledge.build import build_knowledge

    return build_knowledge(
        small.teacher,
        train=small.train,
        validation=small.validation,
        plan=small.plan,
        online=True,
        root=small.run.knowledge,
        device=CPU,
        progress=NullProgress(),
    ).folder.name


def test_mixed_views_train_on_mixed_labels(small_run: SmallRun) -> None:
    online = open_trial_inputs(small_run.worker_config(_online_knowledge(small_run)))
    recipe = Recipe(epochs=6, batch_size=16, learning_rate=2e-2, label_smoothing=0.1)
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (8, 16), "depths": (1, 1)})

    def train(mix: Mix) -> EpochMetrics:
        plan = online.data.plan.model_copy(update={"mix": mix})
        mixed = dataclasses.replace(online, data=dataclasses.replace(online.data, plan=plan))
        return run_to_end(make_trainer(mixed, recipe, spec))[-1]

    plain = train("none")
    for mix in ("mixup", "cutmix"):
        # No prediction of a mixed image can be certain, so its cross-entropy is higher.
        point = train(mix)
        assert point.loss_parts["label"] > plain.loss_parts["label"], mix
        assert point.top1 > 0.5, mix
