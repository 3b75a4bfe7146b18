"""Trials whose students do not start from random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from nas_distill.config import RUN, SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.models.student import build_student
from nas_distill.records import FROM_TEACHER, PRETRAINED, RANDOM, Recipe, StudentSpec, TrialStatus
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.trial.context import TrialContext, open_context
from nas_distill.trial.initial_weights import apply_initial_weights
from nas_distill.trial.run import Trial, make_trainer, run_trial
from tests.helpers import SMALL_TEACHER, TINY_SPEC, SmallRun, make_task

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=1e-2)


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.worker_config())


def task(start: str | None = FROM_TEACHER, *, recipe: Recipe = RECIPE, spec: StudentSpec = TINY_SPEC) -> TrialTask:
    return make_task(spec=spec.model_copy(update={"initial_weights": start}), recipe=recipe)


def student_weights(context: TrialContext, made: TrialTask) -> dict[str, torch.Tensor]:
    trainer, _ = make_trainer(made, context, context.trial_inputs(made))
    return trainer.finish().state_dict()


def test_a_student_cut_from_the_teacher_is_trained_and_its_start_recorded(
    context: TrialContext, tmp_path: Path
) -> None:
    record = run_trial(task(), context, TrialFolder(tmp_path / "00000"))
    assert record.status is TrialStatus.COMPLETE
    report = record.execution.initial_weights
    assert report is not None
    assert (report.source, report.copied_share) == (FROM_TEACHER, 1.0)
    assert report.tensors_copied == report.tensors_total > 0
    assert TrialFolder(tmp_path / "00000").read_record() == record


def test_a_student_of_the_teachers_shape_starts_as_the_teacher(context: TrialContext) -> None:
    found = student_weights(context, task(spec=StudentSpec(architecture="small_resnet", arguments=SMALL_TEACHER)))
    expected = context.teacher.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected if "running_" not in name)


def test_without_a_choice_a_student_starts_from_random_weights(context: TrialContext) -> None:
    weights = [student_weights(context, task(start)) for start in (None, RANDOM, FROM_TEACHER)]
    differing = [[name for name in found if not torch.equal(found[name], weights[0][name])] for found in weights]
    assert differing[:2] == [[], []]
    assert differing[2]


def test_an_interrupted_trial_that_starts_from_the_teacher_ends_like_an_uninterrupted_one(
    context: TrialContext, tmp_path: Path
) -> None:
    straight = run_trial(task(), context, TrialFolder(tmp_path / "straight"))
    folder = TrialFolder(tmp_path / "cut")
    Trial(task(), context, folder).advance()
    second = run_trial(task(), context, folder)
    assert second.metrics == straight.metrics
    assert second.execution.resumptions == 1
    assert second.execution.initial_weights == straight.execution.initial_weights
    assert folder.weights.read_bytes() == TrialFolder(tmp_path / "straight").weights.read_bytes()


def test_a_student_with_the_teachers_classifier_starts_from_the_teachers_body(context: TrialContext) -> None:
    student = build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8, teacher_head=context.teacher.head())
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    report = apply_initial_weights(student, task(), context, context.trial_inputs(task()))
    assert report.source == FROM_TEACHER
    assert 0 < report.copied_share < 1
    assert 0 < report.tensors_copied < report.tensors_total == len(before)
    changed = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("backbone.") for name in changed)


def test_the_learning_rate_of_fine_tuning_applies_to_other_starts_only(context: TrialContext, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"fine_tuning_rate_share": 0.25, "schedule": "constant", "warmup_share": 0.0})
    rates = {}
    for start in (RANDOM, FROM_TEACHER):
        trial = Trial(task(start, recipe=recipe), context, TrialFolder(tmp_path / start))
        point = trial.advance()
        assert point is not None
        rates[start] = point.learning_rate
    assert rates == {RANDOM: pytest.approx(1e-2), FROM_TEACHER: pytest.approx(2.5e-3)}


def test_a_student_that_is_no_part_of_the_teacher_fails_with_the_first_misfit(
    context: TrialContext, tmp_path: Path
) -> None:
    wider = StudentSpec(architecture="small_resnet", arguments={"widths": (12, 32), "depths": (1, 1)})
    record = run_trial(task(spec=wider), context, TrialFolder(tmp_path / "00000"))
    assert record.status is TrialStatus.FAILED
    assert record.error is not None
    assert "stages.1.0.conv1.weight is 32x12x3x3 in the student and 24x12x3x3 in the teacher" in record.error
    assert len(record.error.splitlines()) == 1


@pytest.fixture(scope="module")
def other_run(context: TrialContext, small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of the same images whose only trial is 7."""
    run = RunDirectory(tmp_path_factory.mktemp("other") / "run")
    shutil.copytree(small_run.run.path, run.path)
    write_text(run.config, dump_config(SearchConfig()))
    run_trial(make_task(7, recipe=RECIPE), context, run.trial(7))
    return run


def test_a_student_continues_that_of_another_trial(context: TrialContext, other_run: RunDirectory) -> None:
    made = task(f"{RUN}{other_run.path}/7")
    trainer, report = make_trainer(made, context, context.trial_inputs(made))
    assert (report.source, report.copied_share) == (made.spec.initial_weights, 1.0)
    expected = safetensors.torch.load_file(other_run.trial(7).weights)
    found = trainer.finish().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_another_architecture_or_an_unknown_trial_fails_the_trial(
    context: TrialContext, other_run: RunDirectory, tmp_path: Path
) -> None:
    wider = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 8), "depths": (1, 1)})
    for spec, number, reason in (
        (wider, 7, "widths is (4, 8) in the candidate and (4, 6) in run:"),
        (TINY_SPEC, 999, "trial 999"),
    ):
        start = f"{RUN}{other_run.path}/{number}"
        record = run_trial(task(start, spec=spec), context, TrialFolder(tmp_path / str(number)))
        assert record.status is TrialStatus.FAILED
        assert record.error is not None
        assert reason in record.error
        assert len(record.error.splitlines()) == 1


def test_pretrained_weights_are_adapted_to_classes_and_channels(small_run: SmallRun, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm.create_model("test_resnet").state_dict()
    safetensors.torch.save_file(source, tmp_path / "test_resnet.safetensors")
    context = open_context(small_run.worker_config().model_copy(update={"pretrained_root": str(tmp_path)}))
    made = task(PRETRAINED, spec=StudentSpec(architecture="test_resnet"))
    trainer, report = make_trainer(made, context, context.trial_inputs(made))
    found = trainer.finish().state_dict()
    assert torch.equal(found["layer1.0.conv1.weight"], source["layer1.0.conv1.weight"])
    assert report.source == PRETRAINED
    assert report.tensors_total - report.tensors_copied == 2, "the classifier is random"
    assert 0.5 < report.copied_share < 1
