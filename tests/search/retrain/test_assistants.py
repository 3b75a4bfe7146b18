"""Assistants in whole searches with real Ray, a real study and real students that teach."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from nas_distill.analysis.assistants.choice import read_plan
from nas_distill.analysis.trials.study_reader import load_frame
from nas_distill.config import (
    LOCAL_DIR,
    RUN,
    AshaConfig,
    AssistantsConfig,
    BudgetConfig,
    ExecutionConfig,
    ResourcesConfig,
    SearchConfig,
    SpaceConfig,
    TeacherConfig,
)
from nas_distill.errors import ConfigError
from nas_distill.records import Recipe, TrialStatus
from nas_distill.report import build_report, load_content
from nas_distill.report.sections.assistants import chain_section
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.tune import run_tune
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.driver.sanity import warnings_of
from nas_distill.search.preparation import prepare_search
from nas_distill.search.retrain import assistants as search_assistants
from nas_distill.search.service import resume_search, start_search
from tests.helpers import SMALL_DATA, Heard, SmallRun
from tests.search import faults, processes

pytestmark = pytest.mark.usefixtures("shared_cluster")

SPACE = """
from nas_distill.records import StudentSpec

def widths(trial):
    width = {0: 2, 1: 10}.get(trial.number, 5)
    width = trial.suggest_int("width", width, width)
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})
"""


@dataclass(frozen=True)
class Distilled:
    """A search whose small student was also distilled from its large one."""

    run: RunDirectory
    heard: Heard
    config: SearchConfig


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("space") / "own.py"
    file.write_text(textwrap.dedent(SPACE))
    return file


def make_config(small: SmallRun, space: Path, **parts: object) -> SearchConfig:
    return SearchConfig.model_validate(
        {
            "data": SMALL_DATA,
            "teacher": TeacherConfig(model=f"{LOCAL_DIR}{small.run.teacher}"),
            "space": SpaceConfig(name=f"{space}:widths"),
            "budget": BudgetConfig(trials=2),
            "recipe": Recipe(epochs=4, batch_size=32),
            "resources": ResourcesConfig(execution=ExecutionConfig().without_probe(), max_parallel_trials=1),
            "assistants": AssistantsConfig(count=1),
            "asha": AshaConfig(rule="none"),
        }
        | parts
    )


@pytest.fixture(scope="module")
def distilled(small_run: SmallRun, space: Path, tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    heard = Heard()
    config = make_config(small_run, space)
    outcome = start_search(config, tmp_path_factory.mktemp("distilled") / "first", heard)
    assert (outcome.interrupted, outcome.new_trials) == (False, 3)
    return Distilled(outcome.run, heard, config)


@pytest.fixture
def copied(distilled: Distilled, tmp_path: Path) -> RunDirectory:
    shutil.copytree(distilled.run.path, tmp_path / "copy")
    return RunDirectory(tmp_path / "copy")


def results(run: RunDirectory) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in run.trials.glob("*/result.json")}


@pytest.mark.timeout(400)
def test_the_large_student_teaches_the_small_one(distilled: Distilled) -> None:
    run = distilled.run
    (round_,) = read_plan(run).rounds
    assert (round_.assistant, round_.students) == (1, (0,))
    assert len(distilled.heard.texts("assistants")) == 1
    first, second = run.trial(0).read_record(), run.trial(2).read_record()
    assert first is not None
    assert second is not None
    assert second.assistant == 1
    same = ("spec", "recipe", "seed", "cost", "epochs")
    assert [getattr(second, name) for name in same] == [getattr(first, name) for name in same]
    # It learned from other outputs, and is measured against the same teacher.
    assert [point.train_loss for point in second.curve] != [point.train_loss for point in first.curve]
    assert second.metrics is not None
    teacher = run.read_teacher()
    assert second.metrics.gap_points == pytest.approx(100 * (teacher.top1 - second.metrics.top1))
    assert second.metrics.capacity_ratio == pytest.approx(second.cost.num_params / teacher.cost.num_params)
    # The outputs of teacher and assistant are stored once.
    assert len(list(run.knowledge.iterdir())) == 2


@pytest.mark.timeout(400)
def test_the_report_shows_the_assistant_and_the_gain(distilled: Distilled) -> None:
    content = load_content(distilled.run)
    assert content.counts.sentence() == "3 of 3 trials complete"
    section = chain_section(content)
    assert section is not None
    assert section.lead[0].endswith("→ trial 2")
    assert [line[2:6:2] for line in section.lines] == [("0", "trial 1")]
    paths = build_report(distilled.run).paths
    assert "Teacher assistants" in paths.html.read_text()
    assert pd.read_parquet(paths.trials_parquet)["assistant"].fillna(-1).tolist() == [-1, -1, 1]


@pytest.mark.timeout(400)
def test_a_finished_run_repeats_nothing_and_can_be_extended(copied: RunDirectory) -> None:
    before = results(copied)
    heard = Heard()
    assert resume_search(copied.path, heard).new_trials == 0
    assert results(copied) == before
    # A third trial of the search itself: trials of assistants do not count, and the choice is kept.
    outcome = resume_search(copied.path, heard, trials=3)
    assert outcome.new_trials == 1
    after = results(copied)
    assert {name: after[name] for name in before} == before
    assert load_frame(copied)["assistant"].fillna(-1).tolist() == [-1, -1, 1, -1]
    assert len(read_plan(copied).rounds) == 1


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_assistants_are_added_to_a_finished_run(
    distilled: Distilled, small_run: SmallRun, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rule is too mild to stop one of two trials; trials of assistants have no rungs at all.
    asha = AshaConfig(reduction_factor=1.01, rungs=(1, 2))
    config = make_config(small_run, space, assistants=AssistantsConfig(), asha=asha)
    heard = Heard()
    run = start_search(config, tmp_path / "run", heard).run
    assert not run.assistants.exists()
    assert "epochs 1 and 2 of 4" in heard.texts("asha")[0]

    def note_rungs(driver: SearchDriver, setup: WorkerSetup) -> bool:
        rungs.append(driver.rungs)
        return run_tune(driver, setup)

    rungs: list[tuple[int, ...]] = []
    monkeypatch.setattr(search_assistants, "run_tune", note_rungs)

    # A student that cannot be loaded is skipped; here there is no other.
    weights = run.trial(1).weights
    weights.rename(tmp_path / "weights")
    heard = Heard()
    outcome = resume_search(run.path, heard, assistants=1)
    assert (outcome.interrupted, outcome.new_trials) == (False, 0)
    assert len(heard.texts("warning")) == 1
    assert len(heard.texts("assistants")) == 1
    assert read_plan(run).rounds == ()

    (tmp_path / "weights").rename(weights)
    outcome = resume_search(run.path, Heard())
    assert (outcome.interrupted, outcome.new_trials) == (False, 1)
    assert read_run_config(run).assistants.count == 1
    first, again = distilled.run.trial(2).read_record(), run.trial(2).read_record()
    assert first is not None
    assert again is not None
    assert again.metrics == first.metrics
    assert rungs == [()]


@pytest.mark.timeout(400)
def test_folds_score_a_student_of_an_assistant(copied: RunDirectory) -> None:
    shutil.rmtree(copied.knowledge)  # the outputs of teacher and assistant are computed again
    outcome = resume_search(copied.path, Heard(), folds=2)
    assert not outcome.interrupted
    content = load_content(copied)
    picked = {pick.number for pick in content.picks if pick.number is not None}
    assert {(record.number, record.assistant) for record in content.folds} == {
        (number, 1 if number == 2 else None) for number in picked
    }
    assert all(record.status is TrialStatus.COMPLETE for record in content.folds)


@pytest.mark.timeout(400)
def test_without_a_large_gap_no_assistant_teaches(small_run: SmallRun, space: Path, tmp_path: Path) -> None:
    heard = Heard()
    config = make_config(
        small_run,
        space,
        assistants=AssistantsConfig(count=1, min_gap_points=100.0),
        budget=BudgetConfig(trials=1),
        recipe=Recipe(epochs=1),
    )
    outcome = start_search(config, tmp_path / "run", heard)
    assert outcome.new_trials == 1
    (reason,) = heard.texts("assistants")
    assert read_plan(outcome.run).stop_reason == reason
    section = chain_section(load_content(outcome.run))
    assert section is not None
    assert section.notes == (reason,)


@pytest.mark.timeout(400)
def test_a_student_of_a_run_teaches_the_next_run(
    distilled: Distilled, small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(distilled.run.path.parent)
    config = SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig(model=f"{RUN}first/1"),
        budget=BudgetConfig(trials=1),
        recipe=Recipe(epochs=1, batch_size=64),
        resources=ResourcesConfig(max_parallel_trials=1),
    )
    heard = Heard()
    run = start_search(config, tmp_path / "second", heard).run
    assert read_run_config(run).teacher.model == f"{RUN}{distilled.run.path}/1"
    teacher, student = run.read_teacher(), distilled.run.trial(1).read_record()
    assert student is not None
    assert student.metrics is not None
    assert teacher.top1 == pytest.approx(student.metrics.top1)
    assert teacher.trained_on_data_id == teacher.data_id == small_run.train.manifest.data_id
    assert [(link.run, link.trial) for link in teacher.lineage] == [("first", None), ("first", 1)]
    record = run.trial(0).read_record()
    assert record is not None
    assert set(heard.texts("warning")) <= set(warnings_of(record, num_classes=10))  # one epoch may stay at chance
    report = build_report(run).paths.markdown.read_text().replace("\\", "")
    (line,) = (line for line in report.splitlines() if "\N{RIGHTWARDS ARROW}" in line and "first" in line)
    parts = line.split("\N{RIGHTWARDS ARROW}")
    for part, link in zip(parts, teacher.lineage, strict=True):
        assert all(value in part for value in (link.run, link.architecture, f"{100.0 * link.top1:.2f} %"))
    assert ["trial 1" in part for part in parts] == [False, True]
    # The teacher is copied into the run.
    assert load_frame(run)["status"].tolist() == ["complete"]

    other, again = config.model_copy(update={"data": SMALL_DATA.model_copy(update={"split_seed": 1})}), Heard()
    prepare_search(RunDirectory(tmp_path / "other"), other, again, on_cluster=False)
    assert len(again.texts("warning")) == 1


def test_a_recipe_without_a_teacher_is_rejected_before_anything_is_computed(
    small_run: SmallRun, space: Path, tmp_path: Path
) -> None:
    config = make_config(small_run, space, recipe=Recipe(losses={}, label_weight=1.0))
    with pytest.raises(ConfigError) as caught:
        start_search(config, tmp_path / "run", Heard())
    assert (caught.value.code, caught.value.field) == ("search.recipe_without_assistants", "assistants.count")
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_search_interrupted_while_an_assistant_teaches_continues(
    small_run: SmallRun,
    tmp_path: Path,
    searches: list[subprocess.Popen[bytes]],
    signal_number: signal.Signals,
) -> None:
    run, log, held = RunDirectory(tmp_path / "run"), tmp_path / "log", tmp_path / "held"
    # Trial 2 repeats the student of trial 0, taught by that of trial 1; it is held after its first epoch.
    fault = faults.faulty_spec("hold", marker=held, after=run.trial(2).checkpoint)
    plan = faults.plan([2, 10], {0: fault})
    arguments = [
        "--data", "digits", "--teacher", f"{LOCAL_DIR}{small_run.run.teacher}", "--space", faults.FAULTY_SPACE,
        "--trials", "2", "--epochs", "4", "--batch-size", "16", "--max-train-images", "320",
        "--set", "data.max_validation_images=160", "--assistants", "1", "--set", "assistants.min_gap_points=0",
        "--set", "resources.checkpoint_interval_s=0", "--asha", "none", "--out", str(run.path),
    ]  # fmt: skip
    search = processes.start(arguments, log, environment=plan)
    searches.append(search)
    processes.wait_for(held.exists, search, log)
    if signal_number is signal.SIGKILL:
        processes.kill_all(search)
        search.wait(timeout=60)
    else:
        os.killpg(search.pid, signal_number)
        assert search.wait(timeout=120) == 130
        assert f"--resume {run.path}" in log.read_text()
        assert "Traceback" not in log.read_text()
    before, chosen = results(run), run.assistants.read_bytes()
    assert set(before) == {"00000", "00001"}

    resumed = processes.start(["--resume", str(run.path)], log, environment=plan)
    searches.append(resumed)
    assert resumed.wait(timeout=300) == 0, log.read_text()
    after = results(run)
    assert {name: after[name] for name in before} == before
    assert run.assistants.read_bytes() == chosen
    record = run.trial(2).read_record()
    assert record is not None
    assert (record.assistant, record.execution.resumptions, len(record.curve)) == (1, 1, 4)
