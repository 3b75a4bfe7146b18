"""Tests that need a GPU: no step synchronises with it, and a resumed training continues as it would have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas_distill.config import ExecutionConfig
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.student import build_student
from nas_distill.records import Recipe, StudentSpec
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.execution import apply_execution, candidate_executions, probe
from nas_distill.train.loop import Trainer
from nas_distill.trial.context import TrialContext, open_context
from nas_distill.trial.run import profile_memory
from tests.helpers import SmallRun, make_task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SPEC = StudentSpec(architecture="small_resnet", arguments={"widths": (16, 32), "depths": (1, 1)})
RECIPE = Recipe(epochs=4, batch_size=32)


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.worker_config().model_copy(update={"cuda": True}))


@pytest.fixture
def _full_float32() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


def make_trainer(context: TrialContext, execution: ExecutionConfig) -> Trainer:
    torch.manual_seed(3)
    trial_inputs = context.trial_inputs(make_task())
    return Trainer(
        build_student(SPEC, num_classes=10, channels=1, image_size=8),
        recipe=RECIPE,
        data=trial_inputs.data,
        targets=trial_inputs.targets,
        reference=trial_inputs.reference,
        seed=3,
        device=context.device,
        execution=execution,
    )


EXECUTIONS = [
    ExecutionConfig(precision=precision, memory_format=memory_format)
    for precision in ("float32", "bfloat16")
    for memory_format in ("contiguous", "channels_last")
]


@pytest.mark.parametrize("execution", EXECUTIONS, ids=lambda e: f"{e.precision}-{e.memory_format}")
def test_a_training_resumes_from_its_checkpoint(
    context: TrialContext, tmp_path: Path, execution: ExecutionConfig
) -> None:
    straight = make_trainer(context, execution)
    expected = [straight.run_epoch() for _ in range(RECIPE.epochs)]
    first = make_trainer(context, execution)
    for _ in range(2):
        first.run_epoch()
    save_state(tmp_path / "state.safetensors", first.state())
    second = make_trainer(context, execution)
    second.load(load_state(tmp_path / "state.safetensors"))
    # Not bit-identical, because atomic sums on a GPU have no fixed order.
    for point in expected[2:]:
        assert second.run_epoch().train_loss == pytest.approx(point.train_loss, rel=0.02)


def test_no_step_synchronises_with_the_device(context: TrialContext) -> None:
    trainer = make_trainer(context, EXECUTIONS[0])
    trainer.run_epoch()  # the first epoch allocates caches
    batches = 0
    assert trainer._stepper is not None
    step = trainer._stepper.step

    def watched(*arguments: object) -> dict[str, torch.Tensor]:
        nonlocal batches
        batches += 1
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(*arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    trainer._stepper.step = watched  # type: ignore[assignment, method-assign]
    trainer.run_epoch()
    assert batches == 10


@pytest.mark.usefixtures("_full_float32")
def test_gpu_and_cpu_train_alike(context: TrialContext, small_run: SmallRun) -> None:
    on_cpu = make_trainer(open_context(small_run.worker_config()), EXECUTIONS[0])
    on_gpu = make_trainer(context, EXECUTIONS[0])
    for _ in range(2):
        assert on_gpu.run_epoch().train_loss == pytest.approx(on_cpu.run_epoch().train_loss, rel=0.02)


def test_every_option_is_correct_and_timed(context: TrialContext) -> None:
    torch.manual_seed(0)
    network = build_student(SPEC, num_classes=10, channels=1, image_size=8).to(context.device).train()
    images = torch.randn(64, 1, 8, 8, device=context.device)
    labels = torch.randint(10, (64,), device=context.device)
    found = probe(network, images, labels, candidate_executions(ExecutionConfig(), network))
    assert len(found) == 4
    assert all(option.correct and option.step_s > 0 for option in found), found
    apply_execution(network, found[-1].execution)


def test_profiling_measures_memory(context: TrialContext) -> None:
    task = make_task(spec=SPEC, recipe=RECIPE)
    peak = profile_memory(task, context)
    assert 0 < peak.peak_bytes < peak.gpu_bytes
    larger = profile_memory(task.model_copy(update={"recipe": RECIPE.model_copy(update={"batch_size": 320})}), context)
    assert larger.peak_bytes >= peak.peak_bytes


def test_logits_too_large_for_the_device_are_gathered_on_the_host(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas_distill.knowledge import shard
    from nas_distill.knowledge.targets import StoredTargets

    targets = context.trial_inputs(make_task()).targets
    assert isinstance(targets, StoredTargets)
    indices = torch.randperm(320, device=context.device)[:64]
    resident = targets.outputs(1, indices, torch.empty(0), OutputRequest()).logits
    monkeypatch.setattr(shard, "_RESIDENT_FRACTION", 0.0)
    fresh = StoredTargets(targets._knowledge, context.device)
    assert torch.equal(fresh.outputs(1, indices, torch.empty(0), OutputRequest()).logits, resident)
    assert resident.device.type == "cuda"
