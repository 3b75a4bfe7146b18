"""Faults of users' spaces, samplers and storages: one error, running trials are recorded, the search can continue.

Real files, samplers, SQLite studies and trainings; no Ray.
"""

from __future__ import annotations

import sqlite3
import textwrap
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.config import BudgetConfig, SamplerConfig, SpaceConfig, TeacherConfig
from nas_distill.errors import NasDistillError, SpaceError, StudyError
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe
from nas_distill.records.network_shape import NetworkShape
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.budget import BudgetWatch
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.proposal.proposer import Proposer
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study import ledger as ledger_module
from nas_distill.search.study.fingerprint import Fingerprint, source_digest
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.search.study.memory_mirror import MirroredStorage
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import run_trial
from tests.helpers import Heard, SmallRun, make_space_context

OBJECTIVES = check_objectives(("gap_points", "num_params"))
TOTAL = 3

SPACE = """
    from nas_distill.records import StudentSpec

    def space(trial):
        width = trial.suggest_int("width", 2, 12)
        depths = (1, 1)
        {fault}
        return StudentSpec(architecture="small_resnet", arguments={{"widths": (width, width), "depths": depths}})
"""
SAMPLER = """
    from optuna.samplers import RandomSampler

    class Mine(RandomSampler):
        {fault}
"""
PROPOSAL_FAILS = """
        def sample_independent(self, study, trial, name, distribution):
            if trial.number >= 1:
                raise KeyError(name)
            return super().sample_independent(study, trial, name, distribution)
"""
AFTER_TRIAL_FAILS = """
        def after_trial(self, study, trial, state, values):
            raise RuntimeError("no idea")
"""


def write(path: Path, template: str, fault: str) -> Path:
    path.write_text(textwrap.dedent(template.format(fault=fault)))
    return path


def open_search(
    folder: Path, small: SmallRun, *, space: Path, sampler: str = "tpe", max_params: int | None = None
) -> tuple[SearchDriver, StudyLedger]:
    run = RunDirectory(folder / "run")
    ledger = StudyLedger(run.own_storage, "nas_distill", OBJECTIVES, 0, SamplerConfig(name=sampler))
    loaded = load_space(str(space))
    ledger.set_fingerprint(
        Fingerprint(
            data_id="d", space=loaded.name, space_source=source_digest(loaded.source_path, loaded.name),
            recipe="fixed", recipe_source="", epochs=1, initial_weights=("random",),
        )
    )  # fmt: skip
    proposer = Proposer(
        ledger,
        space=loaded,
        context=make_space_context(),
        initial_weights=InitialWeightsChooser(),
        limits=make_limits(SpaceConfig(max_params=max_params), small.run.read_teacher().cost),
        cost_estimator=CostEstimator(NetworkShape(num_classes=10, channels=1, image_size=8)),
        recipe=Recipe(epochs=1, batch_size=64),
        recipes=load_recipe_space("fixed"),
        choices=make_choices(Recipe(), TeacherConfig()),
        seed=0,
        max_rejections=6,
        known=ledger.assigned(),
    )
    watch = BudgetWatch(BudgetConfig(trials=TOTAL))
    driver = SearchDriver(
        run, ledger, proposer, objectives=OBJECTIVES, watch=watch, max_failures=0, progress=Heard()
    )  # fmt: skip
    return driver, ledger


def work(driver: SearchDriver, folder: Path, context: TrialContext) -> NasDistillError | None:
    """Train the proposed trials, two at a time, and return the failure that ended the proposals."""
    run = RunDirectory(folder / "run")
    while True:
        running = [one for one in (driver.next_task(), driver.next_task()) if one is not None]
        for task in running:
            run_trial(task, context, run.trial(task.number))
            driver.trial_ended(task.number, None)
        if not running:
            return driver.failure


def states(folder: Path) -> list[TrialState]:
    storage = RunDirectory(folder / "run").own_storage
    return [trial.state for trial in optuna.load_study(study_name="nas_distill", storage=storage).trials]


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("if trial.number >= 1: raise ZeroDivisionError('mine')", "space.raised"),
        ("if trial.number >= 1: return {'width': width}", "space.wrong_type"),
        ("if trial.number >= 1: depths = (1,)", "space.no_candidate"),
        ("if trial.number >= 1: width = 4000", "space.no_candidate"),
        ("if trial.number >= 1: trial.suggest_int('width', 12, 2)", "space.raised"),
    ],
    ids=["raises", "type", "unbuildable", "infeasible", "distribution"],
)
def test_a_faulty_space_ends_the_search_and_a_fixed_space_continues_it(
    tmp_path: Path, small_run: SmallRun, context: TrialContext, fault: str, code: str
) -> None:
    space = write(tmp_path / "mine.py", SPACE, fault)
    driver, _ = open_search(tmp_path, small_run, space=space)
    failure = work(driver, tmp_path, context)
    assert isinstance(failure, SpaceError)
    assert (failure.code, failure.field, str(failure).count("\n")) == (code, "space.name", 0)
    assert states(tmp_path)[0] is TrialState.COMPLETE
    assert TrialState.RUNNING not in states(tmp_path)

    if code != "space.no_candidate":
        write(space, SPACE, "pass")
        again, _ = open_search(tmp_path, small_run, space=space)
        assert work(again, tmp_path, context) is None
        assert states(tmp_path).count(TrialState.COMPLETE) == TOTAL


@pytest.mark.parametrize("fault", [PROPOSAL_FAILS, AFTER_TRIAL_FAILS], ids=["at a proposal", "after a trial"])
def test_a_faulty_sampler_ends_the_search_and_another_sampler_continues_it(
    tmp_path: Path, small_run: SmallRun, context: TrialContext, fault: str
) -> None:
    space = write(tmp_path / "mine.py", SPACE, "pass")
    sampler = write(tmp_path / "sampler.py", SAMPLER, "pass")
    sampler.write_text(sampler.read_text() + textwrap.indent(textwrap.dedent(fault), "    "))
    driver, _ = open_search(tmp_path, small_run, space=space, sampler=f"{sampler}:Mine")
    failure = work(driver, tmp_path, context)
    assert isinstance(failure, StudyError)
    assert (failure.code, failure.field) == ("search.sampler_failed", "sampler.name")
    assert str(failure).count("\n") == 0
    assert states(tmp_path)[0] is TrialState.COMPLETE
    assert TrialState.RUNNING not in states(tmp_path)
    again, _ = open_search(tmp_path, small_run, space=space, sampler="random")
    assert work(again, tmp_path, context) is None
    assert states(tmp_path).count(TrialState.COMPLETE) == TOTAL


def test_no_result_is_lost_while_the_database_is_locked(
    tmp_path: Path, small_run: SmallRun, context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MirroredStorage", partial(MirroredStorage, lock_timeout_s=0.5))
    space = write(tmp_path / "mine.py", SPACE, "pass")
    driver, _ = open_search(tmp_path, small_run, space=space)
    first = driver.next_task()
    assert first is not None
    run_trial(first, context, RunDirectory(tmp_path / "run").trial(first.number))
    with closing(sqlite3.connect(tmp_path / "run" / "study.db")) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        driver.trial_ended(first.number, None)  # its result is on disk, and cannot be recorded in the study
        locker.rollback()
    assert isinstance(driver.failure, StudyError)
    assert not driver.waiting
    again, _ = open_search(tmp_path, small_run, space=space)
    assert states(tmp_path) == [TrialState.COMPLETE]
    assert work(again, tmp_path, context) is None
