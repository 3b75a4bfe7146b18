"""What adapts the teacher's part, in real trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas_distill.errors import ConfigError
from nas_distill.knowledge.targets import Targets
from nas_distill.model_outputs import ModelOutputs, OutputRequest, OutputShapes
from nas_distill.models.student import build_student
from nas_distill.records import EpochMetrics
from nas_distill.records.recipe import Adaptation, Recipe
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.loop import Trainer
from nas_distill.trial.context import TrialInputs
from tests.helpers import CPU, TINY_SPEC, SmallRun, open_trial_inputs

BASE = Recipe(losses={"kd": {"weight": 0.9}}, label_weight=0.1, epochs=4, batch_size=32, learning_rate=1e-2)
HARMED = 3


class HarmfulTargets:
    """Confident targets that predict the next class for every image of one class."""

    def __init__(self, targets: Targets, labels: Tensor) -> None:
        self._targets, self._labels = targets, labels

    def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
        found = self._targets.outputs(view, indices, images, request)
        wrong = torch.full_like(found.logits, -10.0)
        wrong[:, HARMED + 1] = 10.0
        return found._replace(logits=torch.where((self._labels[indices] == HARMED)[:, None], wrong, found.logits))

    def shapes(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        return self._targets.shapes(images, request)


class NarrowTargets(HarmfulTargets):
    """Targets that run out of memory for batches larger than a training batch."""

    largest = 0

    def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
        self.largest = max(self.largest, len(images))
        if len(images) > BASE.batch_size:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return super().outputs(view, indices, images, request)


class UnusedTargets:
    """Targets that fail the test when they are used."""

    def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
        raise AssertionError

    def shapes(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        raise AssertionError


@pytest.fixture(scope="module")
def trial_inputs(small_run: SmallRun) -> TrialInputs:
    return open_trial_inputs(small_run.worker_config())


def make_trainer(trial_inputs: TrialInputs, adaptive: dict[str, Any], **changes: Any) -> Trainer:
    torch.manual_seed(0)
    recipe = Recipe(**{**dict(BASE), **changes, "adaptive": Adaptation(**adaptive)})
    return Trainer(
        build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8),
        recipe=recipe,
        data=trial_inputs.data,
        targets=trial_inputs.targets,
        reference=trial_inputs.reference,
        seed=3,
        device=CPU,
    )


def run(trainer: Trainer) -> list[EpochMetrics]:
    curve = []
    while not trainer.is_finished():
        curve.append(trainer.run_epoch().model_copy(update={"wall_time_s": 0.0}))
    return curve


def test_the_teacher_is_dropped_after_its_share_of_the_epochs(trial_inputs: TrialInputs) -> None:
    curve = run(make_trainer(trial_inputs, {"teacher_until": 0.5}))
    assert [set(point.loss_parts) for point in curve] == [{"label", "kd"}] * 2 + [{"label"}] * 2
    assert curve[-1].train_loss == pytest.approx(curve[-1].loss_parts["label"]), "the labels took its weight over"


def test_the_teacher_is_dropped_on_a_plateau(trial_inputs: TrialInputs) -> None:
    curve = run(
        make_trainer(trial_inputs, {"teacher_patience": 1}, learning_rate=1e-7, ema_decay=0.0, warmup_share=0.0)
    )
    assert set(curve[0].loss_parts) == {"label", "kd"}
    assert set(curve[-1].loss_parts) == {"label"}, "a training that stands still has a plateau at once"


def test_annealing_moves_the_weight_to_the_labels(trial_inputs: TrialInputs) -> None:
    curve = run(make_trainer(trial_inputs, {"weight_schedule": "linear", "weight_end": 0.0}))
    second = curve[1]
    expected = (0.1 + 0.9 / 3) * second.loss_parts["label"] + 0.9 * 2 / 3 * second.loss_parts["kd"]
    assert second.train_loss == pytest.approx(expected, rel=1e-5)
    assert set(curve[-1].loss_parts) == {"label"}


@pytest.mark.parametrize(
    "adaptive",
    [
        {"teacher_patience": 1},
        {"sample_weighting": "correctness", "temperature_schedule": "cosine"},
    ],
)
@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_training_has_the_same_metrics(
    trial_inputs: TrialInputs, tmp_path: Path, adaptive: dict[str, Any], cut: int
) -> None:
    straight = make_trainer(trial_inputs, adaptive)
    expected = run(straight)
    first = make_trainer(trial_inputs, adaptive)
    for _ in range(cut):
        first.run_epoch()
    save_state(tmp_path / "state.safetensors", first.state())
    second = make_trainer(trial_inputs, adaptive)
    second.load(load_state(tmp_path / "state.safetensors"))
    assert run(second) == expected[cut:]
    assert second.released_classes == straight.released_classes


@pytest.mark.parametrize("cut", [2, 4, 6])
def test_a_harmed_class_is_released_and_stays_released_after_a_resumption(
    trial_inputs: TrialInputs, tmp_path: Path, cut: int
) -> None:
    harmful = replace(trial_inputs, targets=HarmfulTargets(trial_inputs.targets, trial_inputs.data.train.labels))
    straight, first, second = (
        make_trainer(harmful, {"release": True, "release_holdout": 0.25}, epochs=7) for _ in range(3)
    )
    expected = run(straight)
    assert straight.released_classes == (HARMED,)
    for _ in range(cut):
        first.run_epoch()
    save_state(tmp_path / "state.safetensors", first.state())
    second.load(load_state(tmp_path / "state.safetensors"))
    assert second.released_classes == first.released_classes
    assert run(second) == expected[cut:]
    assert second.released_classes == straight.released_classes


def test_release_uses_the_sample_weights_of_the_training(trial_inputs: TrialInputs) -> None:
    adaptive = {"release": True, "release_holdout": 0.25, "sample_weighting": "correctness"}
    trainer = make_trainer(
        replace(trial_inputs, targets=HarmfulTargets(trial_inputs.targets, trial_inputs.data.train.labels)), adaptive
    )
    trainer.run_epoch()
    distillation = trainer._distillation
    labels = trial_inputs.data.train.labels[distillation._held_out]
    found = distillation._held_out_alignments(1, trainer.evaluator.logits(trainer._evaluated(), trainer.memory_format))
    # The teacher gives their label almost no probability, so "correctness" weights them by almost 0.
    assert found[labels == HARMED].abs().max() < 1e-6
    assert found[labels != HARMED].abs().max() > 1e-3


@pytest.mark.parametrize("share", [0.1, 0.001])
def test_too_few_held_out_images_to_release_any_class_are_an_error(trial_inputs: TrialInputs, share: float) -> None:
    with pytest.raises(ConfigError) as caught:
        make_trainer(trial_inputs, {"release": True, "release_holdout": share})
    assert (caught.value.code, caught.value.field) == (
        "train.holdout_too_small",
        "recipe.adaptive.release_holdout",
    )


def test_held_out_images_are_not_trained_on(trial_inputs: TrialInputs) -> None:
    trainer = make_trainer(trial_inputs, {"release": True, "release_holdout": 0.25})
    trained, held = trainer._distillation.positions, trainer._distillation._held_out
    assert set(trained.tolist()).isdisjoint(held.tolist())
    assert len(trained) + len(held) == trial_inputs.data.train.num_images
    assert len(held) == pytest.approx(0.25 * trial_inputs.data.train.num_images, abs=10)
    # Metrics of the training subset exclude held-out images too.
    subset = set(trial_inputs.reference.subset_indices.tolist())
    assert subset & set(held.tolist())
    measured = trainer.evaluator.training_subset(trainer.finish(), trainer.memory_format)
    assert int(measured.counts.sum()) == len(subset - set(held.tolist()))


def test_out_of_memory_on_held_out_images_halves_their_batches(trial_inputs: TrialInputs) -> None:
    targets = NarrowTargets(trial_inputs.targets, trial_inputs.data.train.labels)
    trainer = make_trainer(replace(trial_inputs, targets=targets), {"release": True, "release_holdout": 0.25}, epochs=7)
    run(trainer)
    assert targets.largest > BASE.batch_size
    assert trainer.released_classes == (HARMED,)


def test_losses_of_feature_maps_need_an_online_teacher(trial_inputs: TrialInputs) -> None:
    with pytest.raises(ConfigError) as caught:
        make_trainer(trial_inputs, {}, losses={"hint": {}})
    assert (caught.value.code, caught.value.field) == ("knowledge.feature_maps_not_stored", "recipe.losses")


def test_a_loss_of_weight_0_does_not_use_the_teacher(trial_inputs: TrialInputs) -> None:
    teachers = replace(trial_inputs, targets=UnusedTargets())
    expected = run(make_trainer(trial_inputs, {}, losses={}, label_weight=1.0))
    assert (
        run(make_trainer(teachers, {}, losses={"hint": {"weight": 0.0}, "rkd": {"weight": 0.0}}, label_weight=1.0))
        == expected
    )


def test_a_loss_of_embeddings_without_stored_embeddings_is_an_error(trial_inputs: TrialInputs) -> None:
    with pytest.raises(ConfigError) as caught:
        make_trainer(trial_inputs, {}, losses={"rkd": {}})
    assert (caught.value.code, caught.value.field) == ("knowledge.embeddings_not_stored", "recipe.losses")
