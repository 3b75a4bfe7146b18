"""Real trainings on real folds by real Ray workers, and what happens when they are cut off or die."""

from __future__ import annotations

import logging
import os
import signal
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from nas_distill.config import PicksConfig, ResourcesConfig, SearchConfig
from nas_distill.errors import ClusterError
from nas_distill.records import Fold, Recipe, StudentSpec, TrialStatus
from nas_distill.records.recipe import Mix
from nas_distill.records.task import TrialTask
from nas_distill.report import load_content
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import folder_of
from nas_distill.search.backend.actor_pool import unended
from nas_distill.search.retrain.cross_validation import score_folds, score_picks
from nas_distill.search.retrain.fold_plan import plan_folds
from nas_distill.search.setup.workers import WorkerSetup
from nas_distill.trial.context import WorkerConfig, open_context
from nas_distill.trial.run import Trial
from tests.helpers import Heard, SmallRun, make_task
from tests.report.factory import make_records, make_run
from tests.search.processes import descendants

RESOURCES = ResourcesConfig(cpus_per_trial=1.0, gpus_per_trial=0.0, max_parallel_trials=2, max_failures=1)
ONE_WORKER = RESOURCES.model_copy(update={"max_parallel_trials": 1})
"""For what takes less time than a second worker takes to start."""


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()


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


def workers() -> list[int]:
    """Returns the processes that train on folds."""
    titles = {pid: Path(f"/proc/{pid}/cmdline") for pid in descendants(os.getpid())}
    return [pid for pid, path in titles.items() if path.exists() and path.read_bytes().startswith(b"ray::RepeatWorker")]


def run_folds(
    planned: list[TrialTask], worker_config: WorkerConfig, heard: Heard | None = None, *, space_name: str = "tiny"
) -> tuple[list[TrialStatus], list[str]]:
    resources = ONE_WORKER.model_copy(update={"max_failures": 0})
    records = score_folds(
        planned, worker_config=worker_config, resources=resources, space_name=space_name, progress=heard or Heard()
    )
    assert [(record.number, record.fold) for record in records] == [(one.number, one.fold) for one in planned]
    return [record.status for record in records], [record.error or "" for record in records]


def test_every_image_is_scored_once_by_a_student_that_did_not_see_it(
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
    records = score_folds(planned, worker_config=worker_config, resources=RESOURCES, space_name="tiny", progress=heard)
    assert [record.status for record in records] == [TrialStatus.COMPLETE] * 4
    for number in (3, 5):
        counts = [sum(one.metrics.class_counts) for one in records if one.number == number and one.metrics is not None]
        assert sum(counts) == small_run.train.num_images
    run = RunDirectory(Path(worker_config.run))
    assert run.read_folds(3, 2) == records[:2]
    assert run.read_folds(5, 2) == records[2:]
    assert "scoring 2 picked students by cross-validation: 4 trainings" in heard.texts("folds")[0]
    assert sum("top-1" in text and "gap" in text for text in heard.texts("folds")) == 4

    # Finished ones stay, and nothing is trained again.
    before = {path: path.stat().st_mtime_ns for path in run.folds.rglob("result.json")}
    again = Heard()
    assert run_folds(planned, worker_config, again)[0] == [TrialStatus.COMPLETE] * 4
    assert {path: path.stat().st_mtime_ns for path in run.folds.rglob("result.json")} == before
    assert again.events == []


def test_one_cut_off_goes_on_from_its_checkpoint(worker_config: WorkerConfig) -> None:
    run, planned = RunDirectory(Path(worker_config.run)), make_folds(epochs=3)
    cut = Trial(planned[1], open_context(worker_config), folder_of(run, planned[1]))
    cut.advance()
    records = score_folds(
        planned, worker_config=worker_config, resources=ONE_WORKER, space_name="tiny", progress=Heard()
    )
    assert [record.execution.resumptions for record in records] == [0, 1]
    assert [len(record.curve) for record in records] == [3, 3]


EPOCHS = 40
"""Enough that neither fold has ended once both have begun."""


@pytest.mark.timeout(300)
def test_a_killed_workers_fold_goes_on_in_another(worker_config: WorkerConfig) -> None:
    planned = make_folds(epochs=EPOCHS)
    checkpoints = [folder_of(RunDirectory(Path(worker_config.run)), one).checkpoint for one in planned]
    killed: list[int] = []

    def kill() -> None:
        while not all(path.exists() for path in checkpoints):
            time.sleep(0.01)
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    records = score_folds(
        planned, worker_config=worker_config, resources=RESOURCES, space_name="tiny", progress=Heard()
    )
    killer.join(timeout=10)
    assert len(killed) == 2
    assert [record.status for record in records] == [TrialStatus.COMPLETE] * 2
    assert [record.execution.resumptions for record in records] == [1, 1]
    assert [point.epoch for point in records[0].curve] == list(range(1, EPOCHS + 1))


@pytest.fixture
def deadly(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A space with an architecture that kills its process, unless there is a file `enough` beside the space's."""
    file = tmp_path_factory.mktemp("space") / "deadly_space.py"
    file.write_text(
        textwrap.dedent("""
        import os
        from pathlib import Path
        from timm.models import create_model, register_model

        @register_model
        def deadly_net(pretrained=False, **kwargs):
            if not Path(__file__).with_name("enough").exists():
                os._exit(1)
            return create_model("small_resnet", widths=(4, 6), depths=(1, 1), **kwargs)

        def space(trial):
            raise AssertionError
        """)
    )
    return f"{file}:space"


DEADLY = StudentSpec(architecture="deadly_net")


def test_those_that_mix_images_fail_beside_others(worker_config: WorkerConfig, small_run: SmallRun) -> None:
    known = {"teacher/none": small_run.knowledge_id, "teacher/mixup": small_run.knowledge_id}
    planned, heard = [*make_folds(1), *make_folds(2, mix="mixup")], Heard()
    statuses, errors = run_folds(planned, worker_config.model_copy(update={"knowledge": known}), heard)
    assert statuses == [TrialStatus.COMPLETE] * 2 + [TrialStatus.FAILED] * 2
    assert all("recipe.mix is mixup, which mixes images of the fold that is left out" in error for error in errors[2:])
    assert any("trial 2, fold 2 of 2 failed: picks.folds: recipe.mix is mixup" in text for text in heard.texts("folds"))


def test_those_that_lose_their_workers_beside_others_are_told_of_and_go_on(
    worker_config: WorkerConfig, deadly: str
) -> None:
    run, heard = RunDirectory(Path(worker_config.run)), Heard()
    planned = [*make_folds(0, spec=DEADLY), *make_folds(1)]
    with pytest.raises(
        ClusterError,
        match=r"picks\.folds: 2 of 4 trainings lost their workers \(the last, trial 0, fold . of 2: its worker died 1 "
        r"time; does memory suffice.*go on with --resume .*, with --max-parallel 1 where memory is short",
    ) as caught:
        run_folds(planned, worker_config, heard, space_name=deadly)
    assert "\n" not in str(caught.value)
    ended = [one for one in planned if folder_of(run, one).result.exists()]
    assert ended == planned[2:]
    assert unended(run, planned) == tuple(planned[:2])
    assert any(text.startswith("trial 0, fold 1 of 2 has not ended: its worker died") for text in heard.texts("folds"))

    Path(deadly.partition(":")[0]).with_name("enough").touch()
    before = {folder_of(run, one).result.stat().st_mtime_ns for one in ended}
    assert run_folds(planned, worker_config, space_name=deadly)[0] == [TrialStatus.COMPLETE] * 4
    assert {folder_of(run, one).result.stat().st_mtime_ns for one in ended} == before


def test_when_all_workers_die_nothing_is_booked_and_it_is_told(worker_config: WorkerConfig, deadly: str) -> None:
    planned = make_folds(0, of=3, spec=DEADLY)
    with pytest.raises(
        ClusterError, match=r"picks\.folds: 3 trainings in a row lost their workers .*--resume"
    ) as caught:
        run_folds(planned, worker_config, space_name=deadly)
    assert "\n" not in str(caught.value)
    assert not any(folder_of(RunDirectory(Path(worker_config.run)), one).result.exists() for one in planned)
    deadline = time.monotonic() + 20.0
    while workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers() == []


def test_the_report_s_picks_are_planned_with_their_own_recipes_and_seeds(tmp_path: Path) -> None:
    config = SearchConfig(picks=PicksConfig(folds=3))
    run = make_run(tmp_path, make_records(12), config=config)
    assigned = [make_task(number, seed=100 + number) for number in range(12)]
    assigned = [one.model_copy(update={"assistant": 1}) if one.number > 5 else one for one in assigned]
    planned = plan_folds(run, config, assigned)
    picked = list(dict.fromkeys(pick.number for pick in load_content(run).picks if pick.number is not None))
    assert [(one.number, one.fold) for one in planned] == [
        (number, Fold(number=part, of=3)) for number in picked for part in range(3)
    ]
    for one in planned:
        assert one.model_copy(update={"seed": 0, "fold": None}) == assigned[one.number].model_copy(update={"seed": 0})
    assert len({one.seed for one in planned}) == len(planned)
    assert planned == plan_folds(run, config, assigned)
    assert plan_folds(run, SearchConfig(), assigned) == ()


def test_without_a_pick_it_is_said(tmp_path: Path) -> None:
    config, heard = SearchConfig(picks=PicksConfig(folds=2)), Heard()

    def equip() -> WorkerSetup:
        raise AssertionError("nothing is left to train")

    assert score_picks(make_run(tmp_path, [], config=config), config, [], equip, heard)
    assert heard.texts("folds") == ["no student was picked, so there is none to score by cross-validation"]


@pytest.mark.parametrize("folds", [1, -2])
def test_a_single_fold_is_refused(folds: int) -> None:
    with pytest.raises(ValueError, match=r"must be 0 \(no cross-validation\), or at least 2"):
        PicksConfig(folds=folds)
