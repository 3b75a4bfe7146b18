"""Whole searches with real Ray, Optuna storage, timm models and images, and injected faults."""

from __future__ import annotations

import textwrap
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.analysis.trials.study_reader import load_frame
from nas_distill.callbacks import NullProgress
from nas_distill.config import (
    LOCAL_DIR,
    AshaConfig,
    BudgetConfig,
    ExecutionConfig,
    ResourcesConfig,
    SearchConfig,
    SpaceConfig,
    TeacherConfig,
    ViewsConfig,
)
from nas_distill.errors import ClusterError, ConfigError, RunError, SpaceError, StudyError, TeacherError
from nas_distill.records import Recipe, TrialResult
from nas_distill.records.base import parse_sealed
from nas_distill.report import load_content
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.sanity import warnings_of
from nas_distill.search.preparation import prepare_search
from nas_distill.search.service import resume_search, start_search
from tests.helpers import SMALL_DATA, Heard, SmallRun, make_small_run

pytestmark = pytest.mark.usefixtures("shared_cluster")

RECIPE = Recipe(epochs=2, batch_size=64)


def make_config(small: SmallRun, **parts: object) -> SearchConfig:
    return SearchConfig.model_validate(
        {
            "data": SMALL_DATA,
            "teacher": TeacherConfig(model=f"{LOCAL_DIR}{small.run.teacher}"),
            "budget": BudgetConfig(trials=3),
            "asha": AshaConfig(rule="none"),
            "recipe": RECIPE,
            # A training takes less time than starting a second worker.
            "resources": ResourcesConfig(max_parallel_trials=1),
        }
        | parts
    )


def rows(run: RunDirectory) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="nas_distill", storage=run.own_storage).trials


def states(run: RunDirectory) -> list[TrialState]:
    return [trial.state for trial in rows(run)]


def warnings_of_weak_students(run: RunDirectory) -> set[str]:
    """Return the warnings about students at chance level, which so short trainings may leave."""
    records = [run.trial(number).read_record() for number in load_frame(run)["number"]]
    return {text for record in records if record is not None for text in warnings_of(record, num_classes=10)}


def test_a_search_from_a_given_teacher_to_the_front(small_run: SmallRun, tmp_path: Path) -> None:
    before = small_run.teacher.weights_sha256()
    heard = Heard()
    outcome = start_search(make_config(small_run, resources=ResourcesConfig()), tmp_path / "run", heard)
    assert (outcome.interrupted, outcome.new_trials) == (False, 3)

    frame = load_frame(outcome.run)
    assert (frame["status"] == "complete").all()
    assert (frame["num_params"] < small_run.run.read_teacher().cost.num_params).all()
    assert len(frame) == 3
    for number in frame["number"]:
        folder = outcome.run.trial(number)
        assert folder.weights.exists()
        assert len(folder.read_curve()) == RECIPE.epochs
    assert TrialState.RUNNING not in states(outcome.run)

    teacher = outcome.run.read_teacher()
    assert teacher.weights_sha256 == before
    assert teacher.trained_on_data_id == teacher.data_id
    assert set(heard.texts("warning")) <= warnings_of_weak_students(outcome.run)

    again = resume_search(outcome.run.path, heard, trials=4)
    assert again.new_trials == 1
    assert len(load_frame(outcome.run)) == 4
    assert resume_search(outcome.run.path, heard).new_trials == 0
    with pytest.raises(ConfigError) as caught:
        resume_search(outcome.run.path, heard, trials=1)
    assert (caught.value.code, caught.value.field) == ("search.fewer_trials_than_run", "budget.trials")


@pytest.mark.timeout(400)
def test_weak_trials_stop_at_rungs_and_stay_in_the_study(small_run: SmallRun, tmp_path: Path) -> None:
    heard = Heard()
    config = make_config(
        small_run,
        asha=AshaConfig(rungs=(1, 2), startup_trials=1),
        budget=BudgetConfig(trials=6),
        recipe=Recipe(epochs=3, batch_size=64),
    )
    outcome = start_search(config, tmp_path / "run", heard)
    assert (outcome.interrupted, outcome.new_trials) == (False, 6)
    assert len(heard.texts("asha")) == 1
    assert set(heard.texts("warning")) <= warnings_of_weak_students(outcome.run)

    frame = load_frame(outcome.run)
    stopped, complete = frame[frame["status"] == "stopped"], frame[frame["status"] == "complete"]
    assert len(stopped) + len(complete) == 6
    assert len(stopped) >= 1
    assert len(complete) >= 1
    assert set(stopped["epochs"]) <= {1, 2}
    assert set(complete["epochs"]) == {3}
    content = load_content(outcome.run)
    assert (content.counts.complete, content.counts.stopped) == (len(complete), len(stopped))
    assert set(content.front.members["number"]) <= set(complete["number"])
    assert f"{len(stopped)} stopped" in content.counts.sentence()
    assert heard.last_status is not None
    assert (heard.last_status.stopped, heard.last_status.running) == (len(stopped), {})
    for number in stopped["number"]:
        record = outcome.run.trial(number).read_record()
        assert record is not None
        assert (record.execution.device, len(record.curve)) == ("cpu", record.epochs)
        assert not outcome.run.trial(number).weights.exists()
        row = rows(outcome.run)[number]
        assert row.state is TrialState.FAIL
        assert parse_sealed(TrialResult, row.user_attrs["result"], origin="study") == record.result()
    assert TrialState.RUNNING not in states(outcome.run)

    again = resume_search(outcome.run.path, heard, trials=8)
    assert again.new_trials == 2
    assert len(load_frame(outcome.run)) == 8


def test_a_users_space_with_its_own_architecture_and_an_online_teacher(small_run: SmallRun, tmp_path: Path) -> None:
    file = tmp_path / "my_space.py"
    file.write_text(
        textwrap.dedent("""
        from timm.models import register_model
        from nas_distill.models.small_resnet import small_resnet
        from nas_distill.records import StudentSpec

        @register_model
        def my_own_net(pretrained=False, width=4, **kwargs):
            return small_resnet(pretrained, widths=(width, width), depths=(1, 1), **kwargs)

        def wide(trial):
            return StudentSpec(architecture="my_own_net", arguments={"width": trial.suggest_int("width", 3, 12)})
        """)
    )
    config = make_config(
        small_run,
        space=SpaceConfig(name=f"{file}:wide", max_params=2000),
        teacher=TeacherConfig(model=f"{LOCAL_DIR}{small_run.run.teacher}", online=True),
        objectives=("divergence_nats", "macs", "agreement"),
        budget=BudgetConfig(trials=2),
    )
    outcome = start_search(config, tmp_path / "run", Heard())
    frame = load_frame(outcome.run)
    assert list(frame["architecture"]) == ["my_own_net"] * 2
    assert (frame["num_params"] <= 2000).all()
    assert not list(outcome.run.knowledge.glob("*/views/*"))


@pytest.mark.parametrize(
    ("parts", "error", "field"),
    [
        ({"teacher": TeacherConfig(model="local-dir:/no/such/folder")}, TeacherError, "teacher.model"),
        ({"space": SpaceConfig(name="tinny")}, SpaceError, "space.name"),
        ({"recipe": RECIPE.model_copy(update={"optimizer": "adamm"})}, ConfigError, "recipe.optimizer"),
        ({"recipe": Recipe(losses={"kd": {"temperature": 0.0}})}, ConfigError, "recipe.losses.kd.temperature"),
        ({"resources": ResourcesConfig(cpus_per_trial=4096)}, ClusterError, "resources"),
        ({"space": SpaceConfig(max_params=10)}, SpaceError, "space.name"),
        ({"asha": AshaConfig(rule="layer")}, ConfigError, "asha.rule"),
    ],
    ids=["teacher", "space", "optimiser", "loss", "resources", "limits", "asha"],
)
def test_a_search_that_cannot_work_ends_with_one_line(
    small_run: SmallRun, tmp_path: Path, parts: dict[str, object], error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as caught:
        start_search(
            make_config(small_run, **{"budget": BudgetConfig(max_rejections=5)} | parts), tmp_path / "run", Heard()
        )
    assert str(caught.value).startswith(f"{field}: ")
    assert "\n" not in str(caught.value)


def test_an_unusable_storage_is_rejected_before_anything_is_computed(small_run: SmallRun, tmp_path: Path) -> None:
    wrong = make_config(small_run, resources=ResourcesConfig(storage="notaurl"))
    with pytest.raises(StudyError) as caught:
        start_search(wrong, tmp_path / "run", Heard())
    assert caught.value.code == "study.storage_url"
    assert not (tmp_path / "run").exists()


def test_a_corrected_command_can_use_the_same_run_directory(small_run: SmallRun, tmp_path: Path) -> None:
    nowhere = make_config(small_run, teacher=TeacherConfig(model="local-dir:/no/such/folder"))
    with pytest.raises(TeacherError) as unloadable:
        start_search(nowhere, tmp_path / "run", Heard())
    assert unloadable.value.code == "models.teacher_not_loadable"
    other = make_small_run(tmp_path / "other", seed=1)
    views = ViewsConfig(crop_padding=9)  # larger than the image: rejected after the teacher was imported
    with pytest.raises(ConfigError) as caught:
        start_search(make_config(small_run, views=views), tmp_path / "run", Heard())
    assert (caught.value.code, caught.value.field) == ("data.views_padding_too_large", "views.crop_padding")
    points = SpaceConfig(initial_points=str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigError) as caught:
        start_search(make_config(small_run, space=points), tmp_path / "run", Heard())
    assert (caught.value.code, caught.value.field) == ("search.file_unreadable", "space.initial_points")
    objectives = ("agreement", "macs", "num_params")
    right = make_config(other, budget=BudgetConfig(trials=1), objectives=objectives)
    outcome = start_search(right, tmp_path / "run", Heard())
    assert outcome.new_trials == 1
    assert outcome.run.read_teacher().weights_sha256 == other.teacher.weights_sha256()


def test_a_search_that_a_full_disk_ended_can_be_resumed(small_run: SmallRun, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.knowledge.write_text("a file instead of a folder, so that writing fails as on a full disk")
    config = make_config(small_run, budget=BudgetConfig(trials=1))
    with pytest.raises(RunError) as caught:
        start_search(config, run.path, Heard())
    assert caught.value.code == "knowledge.not_stored"
    teacher = (run.teacher / "model.safetensors").stat().st_mtime_ns
    run.knowledge.unlink()
    assert resume_search(run.path, Heard()).new_trials == 1
    assert (run.teacher / "model.safetensors").stat().st_mtime_ns == teacher


def test_digits_without_a_teacher_trains_one_first(tmp_path: Path) -> None:
    config = SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig(recipe=Recipe(losses={}, label_weight=1.0, epochs=2)),
        budget=BudgetConfig(trials=1),
        recipe=RECIPE,
        resources=ResourcesConfig(max_parallel_trials=1),
    )
    heard = Heard()
    run = start_search(config, tmp_path / "run", heard).run
    assert heard.texts("teacher")
    assert run.read_teacher().curve[-1].epoch == 2
    assert load_frame(run)["status"].tolist() == ["complete"]


@pytest.mark.slow
def test_a_teacher_is_trained_without_a_probe(tmp_path: Path) -> None:
    runs = []
    for name, execution in {"probing": ExecutionConfig(), "fixed": ExecutionConfig().without_probe()}.items():
        config = SearchConfig.model_validate(
            {
                "data": SMALL_DATA,
                "budget": BudgetConfig(trials=1),
                "recipe": RECIPE,
                "asha": AshaConfig(rule="none"),
                # So many steps that a probe of the fastest execution would pay off.
                "teacher": TeacherConfig(recipe=Recipe(losses={}, label_weight=1.0, epochs=4, batch_size=8)),
                "resources": ResourcesConfig(execution=execution),
            }
        )
        runs.append(RunDirectory(tmp_path / name))
        prepare_search(runs[-1], config, NullProgress(), on_cluster=False)
    assert runs[0].read_teacher().weights_sha256 == runs[1].read_teacher().weights_sha256


def test_runs_in_one_database_stay_apart(small_run: SmallRun, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    for name in ("nas_distill", "run"):  # studies of other runs
        optuna.create_study(study_name=name, storage=storage, directions=["minimize"] * 2).ask()
    config = make_config(
        small_run, budget=BudgetConfig(trials=1), resources=ResourcesConfig(storage=storage, max_parallel_trials=1)
    )
    assert len(load_frame(start_search(config, tmp_path / "run", Heard()).run)) == 1
    assert len(optuna.get_all_study_names(storage)) == 3


def test_a_run_is_not_started_twice(small_run: SmallRun, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunError) as caught:
        start_search(make_config(small_run), tmp_path, Heard())
    assert (caught.value.code, caught.value.field) == ("search.run_exists", str(tmp_path))
