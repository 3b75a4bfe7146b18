"""`run:RUN/TRIAL`: the student of a trial as a teacher."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import RUN, SearchConfig, ViewsConfig
from nas_distill.config.loading import dump_config
from nas_distill.data.views.plan import plan_views
from nas_distill.errors import TeacherError
from nas_distill.knowledge.build import build_knowledge
from nas_distill.models.run_student import load_run_student, student_provenance
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir
from nas_distill.records import Normalisation, Recipe, StudentSpec, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.run_directory.files import write_record, write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial
from nas_distill.train.evaluation import evaluate
from nas_distill.trial.context import open_context
from nas_distill.trial.run import run_trial
from tests.helpers import CPU, SmallRun, make_task
from tests.records.factory import changed_record

VIT = StudentSpec(architecture="test_vit", arguments={"patch_size": 4, "embed_dim": 32, "num_heads": 2, "depth": 1})
NORMALISATION = Normalisation(mean=(0.7,), std=(0.1,))
ONE_EPOCH = Recipe(epochs=1, batch_size=64, dropout=0.1, drop_path=0.1)


@pytest.fixture(scope="module")
def finished(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run with a convolutional student, a transformer with that student as its assistant, and a failed trial."""
    folder = tmp_path_factory.mktemp("finished") / "digits"
    shutil.copytree(small_run.run.path, folder)
    run = RunDirectory(folder)
    write_text(run.config, dump_config(SearchConfig()))
    # Not the images' own statistics, so that a student that is loaded with those has other metrics.
    teacher = run.read_teacher().model_copy(update={"normalisation": NORMALISATION})
    write_record(run.teacher_record, teacher)
    context = open_context(small_run.worker_config().model_copy(update={"run": str(folder)}))
    run_trial(make_task(3, recipe=ONE_EPOCH), context, run.trial(3))
    second = run_trial(make_task(4, spec=VIT, recipe=ONE_EPOCH), context, run.trial(4))
    run.trial(4).write_record(changed_record(second, assistant=3))
    failed = make_task(5)
    outcome = TrialOutcome(status=TrialStatus.FAILED, error="the loss is NaN")
    end_trial(run.trial(5), TrialRecord(task=failed, outcome=outcome))
    return run


def load(run: RunDirectory, number: int, **changes: object) -> Teacher:
    arguments = {"class_names": [str(digit) for digit in range(10)], "channels": 1} | changes
    return load_teacher(f"{RUN}{run.path}/{number}", **arguments)  # type: ignore[arg-type]  # as each test gives it


@pytest.mark.parametrize("number", [3, 4])
def test_a_loaded_student_has_its_recorded_metrics(finished: RunDirectory, small_run: SmallRun, number: int) -> None:
    teacher = load(finished, number)
    record = finished.trial(number).read_record()
    assert record is not None
    assert record.metrics is not None
    metrics = evaluate(teacher, small_run.validation, device=CPU).metrics()
    assert metrics.top1 == record.metrics.top1
    # The record is cross-fitted: each image has a temperature that was fitted on other images.
    assert metrics.nll_nats == pytest.approx(record.metrics.nll_nats, rel=0.05)
    assert teacher.preprocess.normalisation == record.execution.normalisation == NORMALISATION
    assert not any(parameter.requires_grad for parameter in teacher.train().parameters())
    assert not teacher.network.training


@pytest.mark.parametrize("number", [3, 4])
def test_a_student_saved_as_a_teacher_is_bit_identical(finished: RunDirectory, tmp_path: Path, number: int) -> None:
    teacher = load(finished, number)
    names = teacher.class_names
    assert names is not None
    save_local_dir(
        teacher.network,
        tmp_path,
        arguments=teacher.arguments,
        class_names=names,
        channels=teacher.channels,
        image_size=teacher.image_size,
        mean=teacher.preprocess.mean,
        std=teacher.preprocess.std,
    )
    again = load_teacher(f"local-dir:{tmp_path}", class_names=names, channels=1)
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    assert again.weights_sha256() == teacher.weights_sha256()
    assert torch.equal(again(images), teacher(images))


def test_the_lineage_lists_teacher_assistant_and_student(finished: RunDirectory) -> None:
    provenance = student_provenance(f"{RUN}{finished.path}/4")
    teacher = finished.read_teacher()
    assert [(link.run, link.trial, link.architecture) for link in provenance.lineage] == [
        ("digits", None, "small_resnet"),
        ("digits", 3, "small_resnet"),
        ("digits", 4, "test_vit"),
    ]
    assert provenance.lineage[0].num_params == teacher.cost.num_params
    assert provenance.lineage[0].top1 == teacher.top1
    assert provenance.trained_on_data_id == teacher.data_id


def test_the_lineage_starts_at_the_first_teacher(finished: RunDirectory, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "second")
    second = RunDirectory(tmp_path / "second")
    earlier = student_provenance(f"{RUN}{finished.path}/4").lineage
    write_record(second.teacher_record, second.read_teacher().model_copy(update={"lineage": earlier}))
    lineage = student_provenance(f"{RUN}{second.path}/3").lineage
    assert [(link.run, link.trial) for link in lineage] == [
        ("digits", None), ("digits", 3), ("digits", 4), ("second", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "code", "values"),
    [
        ("run:nowhere", "run_unreadable", ("RUN/TRIAL",)),
        ("run:{run}/best", "run_unreadable", ("RUN/TRIAL",)),
        ("run:{run}/", "run_unreadable", ("RUN/TRIAL",)),
        ("run:{run}/-1", "run_unreadable", ("RUN/TRIAL",)),
        ("run:/no/such/run/3", "run_unreadable", ("/no/such/run: ",)),
        ("run:{run}/7", "trial_not_complete", ("trial 7 ", "3, 4, 5")),
        ("run:{run}/5", "trial_not_complete", ("trial 5 ", "failed", "the loss is NaN")),
    ],
)
def test_a_reference_without_a_student_is_an_error(
    finished: RunDirectory, model: str, code: str, values: tuple[str, ...]
) -> None:
    model = model.format(run=finished.path)
    with pytest.raises(TeacherError) as caught:
        load_run_student(model)
    assert (caught.value.code, caught.value.field) == (f"models.{code}", "teacher.model")
    assert all(value in str(caught.value) for value in (model, *values))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_a_trial_is_ignored(damaged: RunDirectory) -> None:
    shutil.copytree(damaged.trial(3).path, damaged.trials / "00003.bak")
    with pytest.raises(TeacherError) as caught:
        load(damaged, 7)
    assert (caught.value.code, caught.value.field) == ("models.trial_not_complete", "teacher.model")
    assert "3, 4, 5" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"class_names": ["a", "b"]}, "classes_mismatch"),
        ({"class_names": list("abcdefghij")}, "classes_mismatch"),
        ({"channels": 3}, "channels_mismatch"),
        ({"arguments": {"depth": 2}}, "two_weight_sources"),
        ({"checkpoint": "weights.safetensors"}, "two_weight_sources"),
    ],
)
def test_a_student_of_other_data_cannot_be_the_teacher(
    finished: RunDirectory, changes: dict[str, object], code: str
) -> None:
    with pytest.raises(TeacherError) as caught:
        load(finished, 3, **changes)
    assert (caught.value.code, caught.value.field) == (f"models.{code}", "teacher.model")


@pytest.fixture
def damaged(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(finished.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def test_damaged_files_of_a_run_are_errors(damaged: RunDirectory) -> None:
    def code(file: Path) -> str:
        with pytest.raises(TeacherError) as caught:
            load(damaged, 3)
        assert caught.value.field == "teacher.model"
        assert str(file) in str(caught.value)
        return caught.value.code

    weights = damaged.trial(3).weights
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert code(weights) == "models.weights_unreadable"
    weights.write_bytes(damaged.trial(4).weights.read_bytes())
    assert code(weights) == "models.weights_mismatch"
    weights.unlink()
    assert code(weights) == "models.weights_unreadable"
    weights.write_bytes(whole)
    manifest = damaged.data_manifest.read_text()
    damaged.data_manifest.write_text(manifest.replace('"image_size": 8', '"image_size": 0'))
    assert code(damaged.data_manifest) == "models.run_unreadable"
    damaged.data_manifest.write_text(manifest)
    load(damaged, 3)
    damaged.trial(3).result.write_text("{}")
    assert code(damaged.trial(3).result) == "models.run_unreadable"


def test_a_student_with_its_teachers_head_cannot_be_a_teacher(damaged: RunDirectory, small_run: SmallRun) -> None:
    plan = plan_views(ViewsConfig(), small_run.train.manifest, epochs=1, online=True)
    knowledge = build_knowledge(
        small_run.teacher,
        train=small_run.train,
        validation=small_run.validation,
        plan=plan,
        online=True,
        root=damaged.knowledge,
        device=CPU,
        progress=NullProgress(),
    )
    worker_config = small_run.worker_config(knowledge.folder.name).model_copy(update={"run": str(damaged.path)})
    recipe = Recipe(epochs=1, batch_size=64, losses={"simkd": {}})
    record = run_trial(make_task(6, recipe=recipe), open_context(worker_config), damaged.trial(6))
    assert record.status is TrialStatus.COMPLETE
    with pytest.raises(TeacherError) as caught:
        load(damaged, 6)
    assert caught.value.code == "models.uses_teacher_head"
