"""Confirmations of real searches: the test split is opened once, results are kept, changed runs are rejected."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_distill.config import LOCAL_DIR, BudgetConfig, ResourcesConfig, SearchConfig, SpaceConfig, TeacherConfig
from nas_distill.data.splits import open_split
from nas_distill.errors import ConfigError, RunError, TeacherError
from nas_distill.knowledge.teacher_test_logits import read_test_logits
from nas_distill.models.teacher import load_teacher
from nas_distill.records import Confirmation, Recipe, TrialStatus, TrialTask
from nas_distill.records.base import parse_sealed, seal
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.retrain.confirm import confirm_students
from nas_distill.search.retrain.confirm_plan import Request
from nas_distill.search.service import start_search
from tests.helpers import SMALL_DATA, Heard, SmallRun
from tests.search import faults, processes

pytestmark = pytest.mark.usefixtures("shared_cluster")

ONE = Request(picks=("best_quality",), seeds=2)


def make_config(
    small: SmallRun,
    *,
    trials: int,
    resources: ResourcesConfig,
    space: SpaceConfig = SpaceConfig(initial_weights=("random",)),  # noqa: B008
) -> SearchConfig:
    return SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig(model=f"{LOCAL_DIR}{small.run.teacher}"),
        space=space,
        budget=BudgetConfig(trials=trials),
        recipe=Recipe(epochs=2, batch_size=64),
        resources=resources,
    )


@pytest.fixture(scope="module")
def searched(small_run: SmallRun, shared_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    config = make_config(small_run, trials=2, resources=ResourcesConfig(max_parallel_trials=1))
    return start_search(config, tmp_path_factory.mktemp("searched") / "run", Heard()).run


@pytest.fixture
def run(searched: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(searched.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.mark.timeout(400)
def test_picks_are_trained_with_and_without_the_teacher_and_scored_on_test(run: RunDirectory) -> None:
    assert not (run.images / "test.npy").exists()
    heard = Heard()
    outcome = confirm_students(run.path, ONE, heard)
    assert (outcome.interrupted, outcome.planned, outcome.new) == (False, 4, 4)
    records = run.read_confirmations()
    assert [(one.confirmation.repetition, one.confirmation.arm) for one in records if one.confirmation] == [
        (0, "control"), (0, "distilled"), (1, "control"), (1, "distilled"),
    ]  # fmt: skip
    searched_as = run.trial(records[0].number).read_record()
    assert searched_as is not None
    for record in records:
        assert record.status is TrialStatus.COMPLETE
        assert record.spec == searched_as.spec
        assert record.metrics is not None
        assert sum(record.metrics.class_counts) == 360
        assert record.metrics.feature_cka is None
        assert len(record.curve) == 2
        assert (record.recipe == searched_as.recipe) == (
            record.confirmation is not None and record.confirmation.arm == "distilled"
        )
    # Gaps are measured against the teacher's accuracy on the same test images.
    data = SMALL_DATA
    test = open_split(data, run.path, "test")
    manifest = test.manifest
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=manifest.class_names, channels=manifest.channels)
    (batch,) = test.batches(torch.arange(360), 360, device=torch.device("cpu"))
    stored = read_test_logits(run.confirm, teacher_sha256=teacher.weights_sha256(), data_id=manifest.data_id)
    torch.testing.assert_close(stored, teacher(batch.images), rtol=1e-4, atol=1e-4)
    top1 = (stored.argmax(dim=1) == batch.labels).double().mean().item()
    for record in records:
        assert record.metrics is not None
        assert record.metrics.gap_points == pytest.approx(100 * (top1 - record.metrics.top1))
    assert np.load(run.images / "test.npy").shape == (360, 1, 8, 8)

    # Results are kept, repetitions are added, and the split is not decoded again.
    before = {path: path.stat().st_mtime_ns for path in [*run.confirm.rglob("result.json"), run.images / "test.npy"]}
    outcome = confirm_students(run.path, Request(picks=("best_quality",), seeds=3), Heard())
    assert (outcome.planned, outcome.new) == (6, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert confirm_students(run.path, ONE, Heard()).new == 0


@pytest.mark.timeout(400)
def test_folds_leave_the_test_split_closed(run: RunDirectory) -> None:
    outcome = confirm_students(run.path, Request(picks=("best_quality",), folds=2, release=False), Heard())
    assert (outcome.planned, outcome.new) == (4, 4)
    assert not (run.images / "test.npy").exists()
    assert not run.tested_teacher.exists()
    counts = [sum(one.metrics.class_counts) for one in run.read_confirmations() if one.metrics is not None]
    assert counts == [160] * 4


def test_another_teacher_is_rejected_before_anything_is_trained(run: RunDirectory) -> None:
    record = run.read_teacher()
    write_record(run.teacher_record, record.model_copy(update={"weights_sha256": "f" * 64}))
    with pytest.raises(RunError) as caught:
        confirm_students(run.path, ONE, Heard())
    assert (caught.value.code, caught.value.field) == ("confirm.other_teacher", str(run.teacher))
    assert "\n" not in str(caught.value)
    assert not run.confirm.exists()


@pytest.mark.parametrize("request_", [Request(seeds=1, release=True), Request(folds=2, release=True)])
def test_a_release_without_enough_images_is_rejected_before_anything_is_trained(
    run: RunDirectory, request_: Request
) -> None:
    with pytest.raises(ConfigError) as caught:
        confirm_students(run.path, request_, Heard())
    assert (caught.value.code, caught.value.field) == ("train.holdout_too_small", "recipe.adaptive.release_holdout")
    assert "--release" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(run.confirm.rglob("*"))
    assert not (run.images / "test.npy").exists()


def test_a_student_without_an_arm_with_release_is_reported(run: RunDirectory) -> None:
    with closing(sqlite3.connect(run.path / "study.db")) as database, database:
        rows = "SELECT trial_user_attribute_id, value_json FROM trial_user_attributes WHERE key = 'task'"
        for key, text in database.execute(rows).fetchall():
            task = parse_sealed(TrialTask, json.loads(text), origin="the study")
            without = task.model_copy(update={"recipe": task.recipe.model_copy(update={"losses": {}})})
            update = "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?"
            database.execute(update, (json.dumps(seal(without)), key))
    (run.teacher / "model.safetensors").unlink()  # the event precedes all training
    heard = Heard()
    with pytest.raises(TeacherError):
        confirm_students(run.path, Request(picks=("0",), release=True), heard)
    assert heard.texts("confirm")[0].startswith("trial 0 ")


def test_other_teacher_weights_are_rejected(run: RunDirectory) -> None:
    weights = run.teacher / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError) as caught:
        confirm_students(run.path, ONE, Heard())
    assert (caught.value.code, caught.value.field) == ("search.teacher_changed", str(run.teacher))
    assert not list(run.confirm.rglob("*"))


def test_other_data_are_rejected(run: RunDirectory) -> None:
    text = run.config.read_text()
    assert "max_train_images: 320" in text
    run.config.write_text(text.replace("max_train_images: 320", "max_train_images: 300"))
    with pytest.raises(RunError) as caught:
        confirm_students(run.path, ONE, Heard())
    assert (caught.value.code, caught.value.field) == ("data.changed", "data.max_train_images")
    assert all(value in str(caught.value) for value in ("data.max_train_images", "320", "300"))
    assert not (run.images / "test.npy").exists()


@pytest.mark.slow
def test_damaged_test_logits_are_computed_again(run: RunDirectory) -> None:
    confirm_students(run.path, Request(picks=("best_quality",), seeds=1), Heard())
    array = run.confirm / "test_logits.npy"
    whole = array.read_bytes()
    array.write_bytes(whole[:-5])
    teacher = run.read_teacher()
    with pytest.raises(RunError) as caught:
        read_test_logits(run.confirm, teacher_sha256=teacher.weights_sha256, data_id=teacher.data_id)
    assert (caught.value.code, caught.value.field) == ("knowledge.damaged_file", str(array))
    confirm_students(run.path, ONE, Heard())
    assert array.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_interrupted_confirmation_continues_by_the_same_command(
    small_run: SmallRun, tmp_path: Path, searches: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, log, held = RunDirectory(tmp_path / "run"), tmp_path / "log", tmp_path / "held"
    training = run.confirmation(0, Confirmation(arm="control", repetition=0), None)
    plan = faults.plan([4], {0: faults.faulty_spec("hold", marker=held, after=training.checkpoint)})
    for name, value in plan.items():
        monkeypatch.setenv(name, value)
    resources = ResourcesConfig(max_parallel_trials=1, checkpoint_interval_s=0.0)
    space = SpaceConfig(name=faults.FAULTY_SPACE, initial_weights=("random",))
    start_search(make_config(small_run, trials=1, resources=resources, space=space), run.path, Heard())
    arguments = [str(run.path), "--picks", "best_quality", "--seeds", "2"]
    searches.append(processes.start(arguments, log, verb="confirm"))
    processes.wait_for(held.exists, searches[0], log)
    started = processes.descendants(searches[0].pid)
    os.killpg(searches[0].pid, signal.SIGINT)
    assert searches[0].wait(timeout=120) == 130
    assert "Traceback" not in log.read_text()
    processes.wait_for_exit(started)
    searches.append(processes.start(arguments, log, verb="confirm"))
    assert searches[1].wait(timeout=240) == 0, log.read_text()
    assert len(run.read_confirmations()) == 4
    assert read_record(run.tested_teacher, type(run.read_teacher())).class_counts
