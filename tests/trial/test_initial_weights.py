"""Trials whose students do not start from random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas_distill.models.student import build_student
from nas_distill.records import FROM_TEACHER, RANDOM, Recipe, StudentSpec, TrialStatus
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import TrialFolder
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
