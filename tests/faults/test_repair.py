"""Damage to the files of a finished search: it is found, costs nothing but itself, and is repaired."""

from __future__ import annotations

import pytest

from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.config.loading import dump_config
from nas_distill.data.image_cache import images_path
from nas_distill.errors import NasDistillError, StudyError
from nas_distill.report import build_report
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.repair.run import repair_run
from nas_distill.search.service import resume_search
from tests.cli.shell import error_of
from tests.faults import runs
from tests.faults.runs import TRIALS, assert_same_trials, change_stored_results, trials_of
from tests.helpers import Heard

pytestmark = pytest.mark.usefixtures("shared_cluster")


def test_an_intact_run_is_left_alone(run: RunDirectory, finished_run: RunDirectory) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.name != "lock"}
    repair = repair_run(run.path)
    assert (repair.findings, repair.study) == ((), None)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("damage", [runs.remove, runs.empty, runs.truncate, runs.zero_half])
def test_a_lost_study_is_refused_and_built_again(
    run: RunDirectory, finished_run: RunDirectory, damage: runs.Damage
) -> None:
    damage(run.study_file)
    for use in (lambda: build_report(run), lambda: resume_search(run.path, Heard())):
        with pytest.raises(StudyError):
            use()
    repair = repair_run(run.path)
    assert repair.study is not None
    assert (repair.study.ended, repair.study.lost, repair.study.without_parameters) == (TRIALS, (), ())
    assert_same_trials(run, finished_run)
    assert resume_search(run.path, Heard()).new_trials == 0
    assert repair_run(run.path).findings == ()


def test_a_study_without_its_log_is_built_from_the_trial_folders(run: RunDirectory, finished_run: RunDirectory) -> None:
    run.study_file.unlink()
    run.study_log.unlink()
    repair = repair_run(run.path)
    assert repair.study is not None
    assert len(repair.study.without_parameters) == repair.study.ended == TRIALS
    assert trials_of(run).equals(trials_of(finished_run))


def test_another_study_name_is_refused(run: RunDirectory) -> None:
    config = read_run_config(run)
    renamed = config.model_copy(update={"resources": config.resources.model_copy(update={"study_name": "other"})})
    run.config.write_text(dump_config(renamed))
    with pytest.raises(StudyError) as caught:
        resume_search(run.path, Heard())
    assert caught.value.code == "study.incomplete"
    assert run.study_log.exists()
    run.config.write_text(dump_config(config))
    assert len(trials_of(run)) == TRIALS


def test_a_changed_record_in_the_study_is_read_and_restored_from_the_run_directory(
    run: RunDirectory, finished_run: RunDirectory
) -> None:
    change_stored_results(run, min(run.trial_numbers()))
    assert trials_of(run).equals(trials_of(finished_run))
    assert resume_search(run.path, Heard()).new_trials == 0
    repair = repair_run(run.path)
    assert [finding.path for finding in repair.findings] == [run.study_file]
    assert_same_trials(run, finished_run)


@pytest.mark.parametrize("damage", [runs.remove, runs.empty, runs.flip_a_bit])
def test_a_damaged_result_is_restored_from_the_study(
    run: RunDirectory, finished_run: RunDirectory, damage: runs.Damage
) -> None:
    path = run.trial(min(run.trial_numbers())).result
    content = path.read_bytes()
    damage(path)
    repair = repair_run(run.path)
    assert [finding.path for finding in repair.findings] == [path]
    assert path.read_bytes() == content
    assert_same_trials(run, finished_run)


def test_a_record_damaged_in_both_places_costs_its_own_row(run: RunDirectory) -> None:
    first, *others = sorted(run.trial_numbers())
    change_stored_results(run, first)
    runs.flip_a_bit(run.trial(first).result)
    snapshot = read_study(run)
    assert snapshot.trials["number"].tolist() == others
    assert [trial.number for trial in snapshot.damaged] == [first]
    assert build_report(run).content.counts.damaged == 1
    repair = repair_run(run.path)
    assert repair.study is not None
    assert (repair.study.ended, repair.study.unfinished) == (TRIALS - 1, 1)


def test_damaged_images_and_splits_are_made_again(run: RunDirectory, finished_run: RunDirectory) -> None:
    before = {
        path: path.read_bytes()
        for path in (images_path(run.path, "train"), images_path(run.path, "validation"), run.split, run.data_manifest)
    }
    for path, content in before.items():
        runs.zero_half(path)
        repair = repair_run(run.path)
        assert [finding.path for finding in repair.findings] == [path]
        assert resume_search(run.path, Heard()).new_trials == 0
        if path != run.split:  # zip files hold times
            assert path.read_bytes() == content
    assert_same_trials(run, finished_run)


def test_lost_weights_of_a_student_are_named(run: RunDirectory) -> None:
    weights = run.trial(min(run.trial_numbers())).weights
    runs.flip_a_bit(weights)
    repair = repair_run(run.path)
    assert [finding.path for finding in repair.findings] == [weights]
    assert len(trials_of(run)) == TRIALS


def test_a_lost_teacher_is_named_and_cannot_be_repaired(run: RunDirectory) -> None:
    runs.flip_a_bit(run.teacher_record)
    assert [finding.path for finding in repair_run(run.path).findings] == [run.teacher_record]
    weights = run.teacher / "model.safetensors"
    runs.flip_a_bit(weights)
    assert error_of("repair", run.path).code == "run.not_repairable"
    with pytest.raises(NasDistillError) as caught:
        resume_search(run.path, Heard())
    assert str(run.teacher) in str(caught.value)
