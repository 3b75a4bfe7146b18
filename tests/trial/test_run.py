from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from nas_distill.errors import RunError
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.features import network_outputs
from nas_distill.models.student import build_student
from nas_distill.records import (
    Confirmation,
    ExecutionInfo,
    InitialWeightsReport,
    Recipe,
    StudentSpec,
    TrialRecord,
    TrialStatus,
)
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import read_own_result
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.metrics import linear_cka
from nas_distill.trial.context import TrialContext, open_context
from nas_distill.trial.run import Trial, run_trial
from tests.helpers import TINY_SPEC, SmallRun, make_task


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.worker_config())


@pytest.fixture(scope="module")
def finished(context: TrialContext, tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """Return the folder of a finished trial. Read it only; `copied` is a copy to change."""
    folder = TrialFolder(tmp_path_factory.mktemp("finished") / "00000")
    run_trial(make_task(), context, folder)
    return folder


@pytest.fixture
def copied(finished: TrialFolder, tmp_path: Path) -> TrialFolder:
    shutil.copytree(finished.path, tmp_path / "00000")
    return TrialFolder(tmp_path / "00000")


def record_of(folder: TrialFolder) -> TrialRecord:
    record = folder.read_record()
    assert record is not None
    return record


def untimed(record: TrialRecord) -> dict[str, object]:
    return record.model_dump(exclude={"execution": {"resumptions"}, "outcome": {"curve": {"__all__": {"wall_time_s"}}}})


def test_a_trial_leaves_its_whole_log(context: TrialContext, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000")
    task = make_task()
    record = run_trial(task, context, folder)
    assert record.status is TrialStatus.COMPLETE
    assert folder.read_record() == record
    assert {path.name for path in folder.path.iterdir()} == {
        "task.json", "epochs.jsonl", "result.json", "student.json", "student.safetensors",
    }  # fmt: skip
    assert folder.read_curve() == record.curve
    assert [point.epoch for point in record.curve] == [1, 2, 3, 4]
    assert read_record(folder.task, TrialTask) == record.task


def test_the_stored_weights_have_the_measured_accuracy(context: TrialContext, finished: TrialFolder) -> None:
    record = record_of(finished)
    network = build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8).eval()
    network.load_state_dict(safetensors.torch.load_file(finished.weights))
    trial_inputs = context.trial_inputs(make_task())
    validation = trial_inputs.data.validation
    (batch,) = validation.batches(torch.arange(validation.num_images), 512, device=context.device)
    with torch.no_grad():
        logits = network(trial_inputs.data.preprocess(batch.images))
    assert record.metrics is not None
    assert record.metrics.top1 == pytest.approx((logits.argmax(1) == batch.labels).float().mean().item())
    teacher_top1 = (trial_inputs.reference.validation.argmax(1) == batch.labels).float().mean().item()
    assert record.metrics.gap_points == pytest.approx(100 * (teacher_top1 - record.metrics.top1), abs=1e-4)
    assert record.metrics.gap_points == pytest.approx(record.curve[-1].gap_points)


def test_metrics_are_consistent(finished: TrialFolder) -> None:
    metrics = record_of(finished).metrics
    assert metrics is not None
    assert sum(metrics.class_counts) == 160
    weighted = sum(
        gap * count
        for gap, count in zip(metrics.class_gap_points, metrics.class_counts, strict=True)
        if gap is not None
    )
    assert weighted / 160 == pytest.approx(metrics.gap_points)
    assert metrics.generalisation_gap_points == pytest.approx(100 * (metrics.train_top1 - metrics.top1))
    assert 0 < metrics.capacity_ratio < 1
    assert metrics.ece is not None
    assert 0 <= metrics.ece <= 1
    assert metrics.feature_cka is not None
    assert 0 < metrics.feature_cka < 1


def test_cka_compares_the_kept_weights_with_the_teacher(context: TrialContext, finished: TrialFolder) -> None:
    metrics = record_of(finished).metrics
    network = build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8).eval()
    network.load_state_dict(safetensors.torch.load_file(finished.weights))
    trial_inputs = context.trial_inputs(make_task())
    (batch,) = trial_inputs.data.validation.batches(torch.arange(160), 160, device=context.device)
    with torch.no_grad():
        features = network_outputs(
            network, trial_inputs.data.preprocess(batch.images), OutputRequest(embedding=True)
        ).embedding
    theirs = context.teacher.outputs(batch.images, OutputRequest(embedding=True)).embedding
    assert features is not None
    assert theirs is not None
    assert metrics is not None
    assert metrics.feature_cka == pytest.approx(linear_cka(features, theirs), abs=1e-5)


def test_an_interrupted_trial_ends_like_an_uninterrupted_one(context: TrialContext, tmp_path: Path) -> None:
    task = make_task(recipe=Recipe(epochs=4, batch_size=32, dropout=0.1, early_stopping_patience=3))
    straight = run_trial(task, context, TrialFolder(tmp_path / "straight"))
    first = Trial(task, context, TrialFolder(tmp_path / "first"))
    for cut in (1, 2, 3):
        first.advance()
        folder = TrialFolder(tmp_path / f"cut-{cut}")
        shutil.copytree(tmp_path / "first", folder.path)
        second = run_trial(task, context, folder)
        assert untimed(second) == untimed(straight), cut
        assert second.execution.resumptions == 1
        assert folder.weights.read_bytes() == TrialFolder(tmp_path / "straight").weights.read_bytes()


def test_a_curve_ahead_of_its_checkpoint_is_truncated(context: TrialContext, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000")
    trial = Trial(make_task(), context, folder)
    trial.advance()
    checkpoint = folder.checkpoint.read_bytes()
    trial.advance()
    folder.checkpoint.write_bytes(checkpoint)  # killed between the curve's write and the checkpoint's
    record = run_trial(make_task(), context, folder)
    assert [point.epoch for point in record.curve] == [1, 2, 3, 4]


def test_checkpoints_keep_their_interval(context: TrialContext, tmp_path: Path) -> None:
    seldom = copy.copy(context)
    seldom.checkpoint_interval_s = 1000.0
    folder = TrialFolder(tmp_path / "00000")
    trial = Trial(make_task(), seldom, folder)
    trial.advance()
    assert not folder.checkpoint.exists()
    assert folder.read_curve() == ()  # what stands there is what a resumed trial goes on from
    record = run_trial(make_task(), seldom, folder)
    assert record.execution.resumptions == 0
    assert [point.epoch for point in record.curve] == [1, 2, 3, 4]
    assert folder.read_curve() == record.curve


@pytest.mark.parametrize("fault", ["another version", "lost curve", "torn curve"])
def test_an_incompatible_checkpoint_restarts_the_trial(
    context: TrialContext, finished: TrialFolder, tmp_path: Path, fault: str
) -> None:
    folder = TrialFolder(tmp_path / "00000")
    trial = Trial(make_task(), context, folder)
    trial.advance()
    trial.advance()
    if fault == "another version":
        state = load_state(folder.checkpoint)
        del state["execution"]
        save_state(folder.checkpoint, state)
    elif fault == "lost curve":
        folder.curve.unlink()
    else:
        folder.curve.write_bytes(folder.curve.read_bytes()[:40])
    record = run_trial(make_task(), context, folder)
    assert record.execution.resumptions == 0
    assert [point.epoch for point in record.curve] == [1, 2, 3, 4]
    assert untimed(record) == untimed(record_of(finished))


def test_a_damaged_checkpoint_restarts_the_trial(context: TrialContext, tmp_path: Path) -> None:
    task = make_task(recipe=Recipe(epochs=2, batch_size=32))
    Trial(task, context, TrialFolder(tmp_path / "begun")).advance()
    for number, content in enumerate((b"", b"torn", b"\x10\x00\x00\x00\x00\x00\x00\x00{}")):
        folder = TrialFolder(tmp_path / str(number))
        shutil.copytree(tmp_path / "begun", folder.path)
        folder.checkpoint.write_bytes(content)
        record = run_trial(task, context, folder)
        assert record.status is TrialStatus.COMPLETE
        assert record.execution.resumptions == 0
        assert len(record.curve) == 2


def test_a_checkpoint_of_another_task_is_not_used(context: TrialContext, finished: TrialFolder, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000")
    Trial(make_task(seed=1), context, folder).advance()
    record = run_trial(make_task(), context, folder)
    assert record.execution.resumptions == 0
    assert untimed(record) == untimed(record_of(finished))


def test_an_ended_trial_is_not_trained_again(context: TrialContext, copied: TrialFolder) -> None:
    written = copied.result.stat().st_mtime_ns
    assert run_trial(make_task(), context, copied) == record_of(copied)
    assert copied.result.stat().st_mtime_ns == written


def failing(spec: StudentSpec = TINY_SPEC, **recipe: object) -> TrialTask:
    good = make_task()
    base = json.loads(good.recipe.model_dump_json())
    return good.model_copy(update={"spec": spec, "recipe": Recipe.model_validate(base | recipe)})


@pytest.mark.parametrize(
    ("task", "field", "value"),
    [
        (
            failing(learning_rate=1e30, optimizer="sgd", gradient_clip_norm=0.0),
            "recipe.learning_rate",
            r"(?i)\b(nan|inf)",
        ),
        (failing(StudentSpec(architecture="no_such_net")), "candidate no_such_net()", "architecture"),
        (failing(optimizer="adamm"), "recipe.optimizer", "'adamm'"),
        (failing(losses={"kdd": {}}), "recipe.losses", "'kdd'.* 'kd'"),
    ],
    ids=["NaN", "architecture", "optimiser", "loss"],
)
def test_a_trial_that_cannot_continue_is_recorded_as_failed(
    context: TrialContext, tmp_path: Path, task: TrialTask, field: str, value: str
) -> None:
    folder = TrialFolder(tmp_path / "00000")
    record = run_trial(task, context, folder)
    assert record.status is TrialStatus.FAILED
    assert record.metrics is None
    assert record.error is not None
    assert "\n" not in record.error
    assert record.error.startswith(f"{field}: ")
    assert re.search(value, record.error)
    assert folder.read_record() == record
    assert not folder.checkpoint.exists()
    assert not folder.weights.exists()


def test_account_writes_the_curve_and_does_not_end_the_trial(small_run: SmallRun, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000")
    rarely = open_context(small_run.worker_config().model_copy(update={"checkpoint_interval_s": 1e6}))
    trial = Trial(make_task(), rarely, folder)
    point = trial.advance()
    assert folder.read_curve() == ()
    random = InitialWeightsReport(source="random", tensors_total=len(trial._trainer.finish().state_dict()))
    assert trial.account() == ExecutionInfo(
        resumptions=0,
        device="cpu",
        settings=trial._trainer.execution,
        normalisation=small_run.run.read_teacher().normalisation,
        initial_weights=random,
    )
    assert folder.read_curve() == (point,)
    assert trial.record is None
    assert not folder.result.exists()


def test_the_result_of_another_task_is_an_error(context: TrialContext, copied: TrialFolder) -> None:
    with pytest.raises(RunError) as caught:
        run_trial(make_task(seed=2), context, copied)
    assert (caught.value.code, caught.value.field) == ("run.foreign_result", str(copied.result))


def test_a_foreign_repeated_training_names_the_folder_to_move_away(finished: TrialFolder, tmp_path: Path) -> None:
    repeated = make_task().model_copy(update={"confirmation": Confirmation(arm="distilled", repetition=0)})
    folder = RunDirectory(tmp_path).confirmation(0, Confirmation(arm="distilled", repetition=0), None)
    shutil.copytree(finished.path, folder.path)
    with pytest.raises(RunError) as caught:
        read_own_result(repeated, folder)
    assert (caught.value.code, caught.value.field) == ("run.foreign_result", str(folder.result))
    assert str(tmp_path / "confirm") in str(caught.value)


def test_a_batch_that_a_network_cannot_train_on_fails_the_trial(context: TrialContext, tmp_path: Path) -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4, 4, 4), "depths": (1, 1, 1, 1)})
    task = make_task(spec=spec, recipe=Recipe(epochs=1, batch_size=1))
    record = run_trial(task, context, TrialFolder(tmp_path / "00000"))
    assert record.status is TrialStatus.FAILED
    assert record.error is not None
    assert "epoch 1 failed: ValueError: Expected more than 1 value per channel" in record.error
