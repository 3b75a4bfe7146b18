"""Steps with too little memory: a batch that does not fit is processed in parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_distill.errors import TrialError
from nas_distill.knowledge.targets import OnlineTargets
from nas_distill.models.memory import is_out_of_memory
from nas_distill.models.student import build_student
from nas_distill.records import ExecutionSettings, Recipe, StudentSpec
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.evaluation import evaluate
from nas_distill.train.loop import Trainer
from nas_distill.trial.context import TrialInputs
from tests.helpers import CPU, TINY_SPEC, SmallRun, open_trial_inputs

# Without batch normalisation, dropout or clipping, a batch in parts gives the same gradient as the whole batch.
PLAIN_VIT = StudentSpec(
    architecture="vit_tiny_patch16_224",
    arguments={"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
)


@pytest.fixture(scope="module")
def trial_inputs(small_run: SmallRun) -> TrialInputs:
    return open_trial_inputs(small_run.worker_config())


def make_trainer(
    trial_inputs: TrialInputs,
    spec: StudentSpec,
    *,
    holds: int | None,
    seen: list[int] | None = None,
    batch_size: int = 32,
) -> Trainer:
    """Return a trainer whose device fits at most `holds` images in a training pass; `seen` collects the batch sizes."""
    torch.manual_seed(3)
    network = build_student(spec, num_classes=10, channels=1, image_size=8)
    if holds is not None:
        network.register_forward_pre_hook(_out_of_memory_beyond(holds, [] if seen is None else seen))
    return Trainer(
        network,
        # Adam would divide by the size of gradients that are nothing but rounding.
        recipe=Recipe(
            losses={"kd": {"weight": 0.9}},
            label_weight=0.1,
            epochs=2,
            batch_size=batch_size,
            optimizer="sgd",
            learning_rate=0.1,
        ),
        data=trial_inputs.data,
        targets=trial_inputs.targets,
        reference=trial_inputs.reference,
        seed=3,
        device=CPU,
    )


def _out_of_memory_beyond(holds: int, seen: list[int]) -> Callable[[nn.Module, tuple[Tensor]], None]:
    def hook(module: nn.Module, arguments: tuple[Tensor]) -> None:
        if module.training and len(arguments[0]) > holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        if module.training:
            seen.append(len(arguments[0]))

    return hook


def test_a_batch_in_parts_gives_the_gradient_of_the_whole_batch(trial_inputs: TrialInputs) -> None:
    whole = make_trainer(trial_inputs, PLAIN_VIT, holds=None)
    parted = make_trainer(trial_inputs, PLAIN_VIT, holds=9)
    expected, found = whole.run_epoch(), parted.run_epoch()
    assert parted.execution == ExecutionSettings(micro_batch_size=8)
    assert whole.execution == ExecutionSettings()
    assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
    assert found.loss_parts == pytest.approx(expected.loss_parts, rel=1e-5)
    for mine, theirs in zip(parted.finish().parameters(), whole.finish().parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_parts_are_nearly_equal_and_never_single_images(trial_inputs: TrialInputs) -> None:
    seen: list[int] = []
    trainer = make_trainer(trial_inputs, TINY_SPEC, holds=7, seen=seen)
    trainer.run_epoch()
    assert trainer.execution.micro_batch_size == 4
    assert set(seen) == {4}
    assert len(seen) == 10 * 8  # ten batches of 32


@pytest.mark.parametrize("batch_size", [5, 7, 33])
def test_no_part_of_an_odd_batch_is_a_single_image(trial_inputs: TrialInputs, batch_size: int) -> None:
    seen: list[int] = []
    trainer = make_trainer(trial_inputs, TINY_SPEC, holds=4, seen=seen, batch_size=batch_size)
    trainer.run_epoch()
    assert min(seen) >= 2


def gradient_norms(small_run: SmallRun, trial_inputs: TrialInputs, clip_norm: float) -> list[float]:
    """Of one step: the network's, ctkd's temperature's, hint's regressor's."""
    torch.manual_seed(3)
    trainer = Trainer(
        build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8),
        recipe=Recipe(
            losses={"ctkd": {"weight": 1e4}, "hint": {}},
            epochs=1,
            batch_size=trial_inputs.data.train.num_images,
            gradient_clip_norm=clip_norm,
        ),
        data=trial_inputs.data,
        targets=OnlineTargets(small_run.teacher),
        reference=trial_inputs.reference,
        seed=3,
        device=CPU,
    )
    trainer.run_epoch()
    terms = trainer._distillation.loss.terms
    parts = (trainer._network, terms["ctkd"], terms["hint"])
    return [
        float(nn.utils.get_total_norm([one.grad for one in part.parameters() if one.grad is not None]))
        for part in parts
    ]


def test_the_network_and_each_learned_loss_are_clipped_separately(
    small_run: SmallRun, trial_inputs: TrialInputs
) -> None:
    raw = gradient_norms(small_run, trial_inputs, 0.0)
    assert gradient_norms(small_run, trial_inputs, min(raw) / 2) == pytest.approx([min(raw) / 2] * 3, rel=1e-3)
    # Each that is above: the others are left as they are.
    between = sum(sorted(raw)[:2]) / 2
    assert gradient_norms(small_run, trial_inputs, between) == pytest.approx(
        [min(one, between) for one in raw], rel=1e-3
    )


def test_a_device_without_memory_fails_the_trial(trial_inputs: TrialInputs) -> None:
    trainer = make_trainer(trial_inputs, TINY_SPEC, holds=2)
    with pytest.raises(TrialError) as caught:
        trainer.run_epoch()
    assert caught.value.code == "train.out_of_memory"


def test_a_resumed_trial_does_not_run_out_of_memory_again(trial_inputs: TrialInputs, tmp_path: Path) -> None:
    first = make_trainer(trial_inputs, TINY_SPEC, holds=8)
    first.run_epoch()
    save_state(tmp_path / "state.safetensors", first.state())
    second = make_trainer(trial_inputs, TINY_SPEC, holds=8)
    second.load(load_state(tmp_path / "state.safetensors"))
    assert second.execution == ExecutionSettings(micro_batch_size=8)
    assert second.run_epoch() == first.run_epoch().model_copy(update={"wall_time_s": pytest.approx(0, abs=60)})


def test_evaluation_halves_its_batch_when_memory_is_too_small(trial_inputs: TrialInputs) -> None:
    sizes: list[int] = []

    def network(images: Tensor) -> Tensor:
        sizes.append(len(images))
        if len(images) > 50:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")
        return torch.zeros(len(images), 10)

    metric_sums = evaluate(
        network, trial_inputs.data.validation, device=CPU, teacher_logits=trial_inputs.reference.validation
    )
    assert int(metric_sums.counts.sum()) == 160
    assert max(sizes[-5:]) <= 50


def test_other_errors_of_evaluation_are_not_swallowed(trial_inputs: TrialInputs) -> None:
    def network(images: Tensor) -> Tensor:
        raise RuntimeError("shapes do not agree")

    with pytest.raises(RuntimeError, match="shapes do not agree"):
        evaluate(network, trial_inputs.data.validation, device=CPU)


def test_evaluation_compares_each_image_with_its_own_teacher_logits(
    trial_inputs: TrialInputs, small_run: SmallRun
) -> None:
    metric_sums = evaluate(
        small_run.teacher, trial_inputs.data.validation, device=CPU, teacher_logits=trial_inputs.reference.validation
    )
    assert metric_sums.comparison().agreement == 1.0
    assert metric_sums.comparison().divergence_nats < 1e-8
    assert metric_sums.metrics() == trial_inputs.reference.teacher


@pytest.mark.parametrize(
    ("error", "expected"),
    [(torch.OutOfMemoryError("CUDA out of memory"), True), (RuntimeError("mat1 and mat2 shapes"), False)],
)
def test_out_of_memory_errors_are_recognised(error: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
