"""Real trainings on real folds by real Ray workers, which are interrupted or die at known points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from nas_distill.config import PicksConfig, ResourcesConfig, SearchConfig
from nas_distill.errors import ClusterError
from nas_distill.records import Fold, Recipe, StudentSpec, TrialRecord, TrialStatus
from nas_distill.records.recipe import Mix
from nas_distill.records.task import TrialTask
from nas_distill.report import load_content
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import folder_of
from nas_distill.search.backend.trainings import unfinished_tasks
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.retrain.cross_validation import score_folds, score_picks
from nas_distill.search.retrain.fold_plan import plan_folds
from nas_distill.trial.context import WorkerConfig, open_context
from nas_distill.trial.run import Trial
from tests.helpers import Heard, SmallRun, make_task
from tests.report.factory import make_records, make_run
from tests.search.faults import FAULTY_SPACE, faulty_spec

pytestmark = pytest.mark.usefixtures("shared_cluster")

RESOURCES = ResourcesConfig(cpus_per_trial=1.0, gpus_per_trial=0.0, max_parallel_trials=2, max_failures=1)
ONE_WORKER = RESOURCES.model_copy(update={"max_parallel_trials": 1, "max_failures": 0})
"""For trainings that take less time than a second worker takes to start."""


@pytest.fixture
def worker_config(small_run: SmallRun, tmp_path: Path) -> WorkerConfig:
    """The shared run's data, teacher and knowledge; folds in a folder of its own."""
    for part in small_run.run.path.iterdir():
        if part.name != "folds":
            (tmp_path / part.name).symlink_to(part)
    return small_run.worker_config().model_copy(update={"run": str(tmp_path)})


def make_folds(
    number: int = 0, *, of: int = 2, epochs: int = 1, mix: Mix = "none", spec: StudentSpec | None = None
) -> list[TrialTask]:
    recipe = Recipe(epochs=epochs, batch_size=32, mix=mix)
    task = make_task(number, recipe=recipe)
    if spec is not None:
        task = task.model_copy(update={"spec": spec})
    return [task.model_copy(update={"seed": 7 + part, "fold": Fold(number=part, of=of)}) for part in range(of)]


def run_folds(
    planned: list[TrialTask],
    worker_config: WorkerConfig,
    heard: Heard | None = None,
    *,
    resources: ResourcesConfig = ONE_WORKER,
) -> list[TrialRecord]:
    config = worker_config.model_copy(update={"user_modules": (FAULTY_SPACE,)})
    setup = WorkerSetup(config=config, resources=resources)
    records = score_folds(planned, setup, heard or Heard())
    assert [(record.number, record.fold) for record in records] == [(one.number, one.fold) for one in planned]
    return list(records)


def statuses(records: Sequence[TrialRecord]) -> list[TrialStatus]:
    return [record.status for record in records]


def test_every_image_is_scored_once_by_a_student_that_was_not_trained_on_it(
    worker_config: WorkerConfig, small_run: SmallRun
) -> None:
    planned, heard = [*make_folds(3), *make_folds(5)], Heard()
    context = open_context(worker_config)
    for task in planned:
        data = context.trial_inputs(task).data
        assert data.train_indices is not None
        assert data.validation_indices is not None
        both = torch.cat([data.train_indices, data.validation_indices]).sort().values
        assert torch.equal(both, torch.arange(small_run.train.num_images))
        assert data.validation is data.train
    records = run_folds(planned, worker_config, heard, resources=RESOURCES)
    assert statuses(records) == [TrialStatus.COMPLETE] * 4
    for number in (3, 5):
        counts = [sum(one.metrics.class_counts) for one in records if one.number == number and one.metrics is not None]
        assert sum(counts) == small_run.train.num_images
    run = RunDirectory(Path(worker_config.run))
    assert run.read_folds(3, 2) == tuple(records[:2])
    assert run.read_folds(5, 2) == tuple(records[2:])
    assert len(heard.texts("folds")) == 1 + 4

    # Finished folds are kept, and nothing is trained again.
    before = {path: path.stat().st_mtime_ns for path in run.folds.rglob("result.json")}
    again = Heard()
    assert run_folds(planned, worker_config, again) == records
    assert {path: path.stat().st_mtime_ns for path in run.folds.rglob("result.json")} == before
    assert again.events == []


def test_an_interrupted_fold_continues_from_its_checkpoint(worker_config: WorkerConfig) -> None:
    run, planned = RunDirectory(Path(worker_config.run)), make_folds(epochs=3)
    Trial(planned[1], open_context(worker_config), folder_of(run, planned[1])).advance()
    records = run_folds(planned, worker_config)
    assert [record.execution.resumptions for record in records] == [0, 1]
    assert [len(record.curve) for record in records] == [3, 3]


def test_a_killed_workers_fold_goes_on_in_another(worker_config: WorkerConfig, tmp_path: Path) -> None:
    run, planned = RunDirectory(Path(worker_config.run)), make_folds(epochs=3)
    # Both workers die in the first training step after their first checkpoint.
    planned = [
        task.model_copy(
            update={"spec": faulty_spec("die", marker=tmp_path / f"died-{part}", after=folder_of(run, task).checkpoint)}
        )
        for part, task in enumerate(planned)
    ]
    records = run_folds(planned, worker_config, resources=RESOURCES)
    assert statuses(records) == [TrialStatus.COMPLETE] * 2
    assert [record.execution.resumptions for record in records] == [1, 1]
    assert [[point.epoch for point in record.curve] for record in records] == [[1, 2, 3]] * 2


@pytest.fixture
def deadly(tmp_path: Path) -> StudentSpec:
    """A student that kills its worker in the first training step, until there is a file `enough`."""
    return faulty_spec("die", marker=tmp_path / "enough", once=False)


def test_folds_of_a_recipe_that_mixes_images_fail_and_the_others_finish(
    worker_config: WorkerConfig, small_run: SmallRun
) -> None:
    known = {"teacher/none": small_run.knowledge_id, "teacher/mixup": small_run.knowledge_id}
    planned = [*make_folds(1), *make_folds(2, mix="mixup")]
    records = run_folds(planned, worker_config.model_copy(update={"knowledge": known}))
    assert statuses(records) == [TrialStatus.COMPLETE] * 2 + [TrialStatus.FAILED] * 2
    assert all((record.error or "").startswith("picks.folds: ") for record in records[2:])


@pytest.mark.slow
def test_folds_that_lose_their_workers_are_not_recorded_and_continue_later(
    worker_config: WorkerConfig, deadly: StudentSpec, tmp_path: Path
) -> None:
    run, heard = RunDirectory(Path(worker_config.run)), Heard()
    planned = [*make_folds(0, spec=deadly), *make_folds(1)]
    with pytest.raises(ClusterError) as caught:
        run_folds(planned, worker_config, heard)
    assert (caught.value.code, caught.value.field) == ("cluster.workers_died", "picks.folds")
    assert "\n" not in str(caught.value)
    finished = [task for task in planned if folder_of(run, task).result.exists()]
    assert finished == planned[2:]
    assert unfinished_tasks(run, planned) == tuple(planned[:2])
    lost = [event["training"] for event in run.read_events() if event.get("status") == "lost"]
    assert lost == ["trial 0, fold 1 of 2", "trial 0, fold 2 of 2"]

    (tmp_path / "enough").touch()
    before = {folder_of(run, task).result.stat().st_mtime_ns for task in finished}
    assert statuses(run_folds(planned, worker_config)) == [TrialStatus.COMPLETE] * 4
    assert {folder_of(run, task).result.stat().st_mtime_ns for task in finished} == before


@pytest.mark.slow
def test_nothing_is_recorded_if_all_workers_die(worker_config: WorkerConfig, deadly: StudentSpec) -> None:
    run, planned = RunDirectory(Path(worker_config.run)), make_folds(0, of=3, spec=deadly)
    with pytest.raises(ClusterError) as caught:
        run_folds(planned, worker_config)
    assert (caught.value.code, caught.value.field) == ("cluster.workers_died", "picks.folds")
    assert not list(run.folds.rglob("result.json"))
    assert run.read_folds(0, 3) == ()
    assert unfinished_tasks(run, planned) == tuple(planned)
    lost = [event["training"] for event in run.read_events() if event.get("status") == "lost"]
    assert lost == [f"trial 0, fold {part} of 3" for part in (1, 2, 3)]


def test_picks_of_the_report_are_planned_with_their_own_recipes_and_seeds(tmp_path: Path) -> None:
    config = SearchConfig(picks=PicksConfig(folds=3))
    run = make_run(tmp_path, make_records(12), config=config)
    assigned = [make_task(number, seed=100 + number) for number in range(12)]
    assigned = [one.model_copy(update={"assistant": 1}) if one.number > 5 else one for one in assigned]
    planned = plan_folds(run, config.picks, assigned)
    picked = list(dict.fromkeys(pick.number for pick in load_content(run).picks if pick.number is not None))
    assert [(one.number, one.fold) for one in planned] == [
        (number, Fold(number=part, of=3)) for number in picked for part in range(3)
    ]
    for one in planned:
        assert one.model_copy(update={"seed": 0, "fold": None}) == assigned[one.number].model_copy(update={"seed": 0})
    assert len({one.seed for one in planned}) == len(planned)
    assert planned == plan_folds(run, config.picks, assigned)
    assert plan_folds(run, PicksConfig(), assigned) == ()


def test_without_a_picked_student_nothing_is_trained(tmp_path: Path) -> None:
    picks, heard = PicksConfig(folds=2), Heard()

    def prepare_workers() -> WorkerSetup:
        raise AssertionError("nothing is left to train")

    run = make_run(tmp_path, [], config=SearchConfig(picks=picks))
    assert score_picks(run, picks, [], prepare_workers, heard)
    assert len(heard.texts("folds")) == 1
