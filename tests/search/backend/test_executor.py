"""The executor on real Ray processes that die, fail or are interrupted at known items."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.errors import ClusterError, TeacherError
from nas_distill.search.backend.executor import Executor, WorkDescription
from nas_distill.search.driver.failures import FailurePolicy
from tests.search.mortal import FaultyWorker
from tests.search.processes import wait_for_exit

pytestmark = pytest.mark.usefixtures("shared_cluster")


def make_executor(worker: FaultyWorker, *, max_failures: int = 0, max_workers: int = 2) -> Executor[int, int]:
    return Executor[int, int](
        worker,
        cpus=0.0,
        gpus=0.0,
        max_workers=max_workers,
        policy=FailurePolicy(max_failures, stop_after_success=False),
        description=WorkDescription(unit="items", field="picks.folds", resume="--resume RUN"),
    )


def run(executor: Executor[int, int], count: int, *, loses: bool = False) -> tuple[dict[str, int], list[str]]:
    """Return the process of each finished item, and the names of lost ones, which end in an error."""
    results: dict[str, int] = {}
    lost: list[str] = []
    items = {f"item {item}": item for item in range(count)}

    def run_all() -> None:
        executor.run(items, on_result=results.__setitem__, on_lost=lambda name, reason: lost.append(name))

    if not loses:
        run_all()
        return results, lost
    with pytest.raises(ClusterError) as caught:
        run_all()
    assert (caught.value.code, caught.value.field) == ("cluster.workers_died", "picks.folds")
    assert "\n" not in str(caught.value)
    return results, lost


def test_processes_run_one_item_after_another_and_are_gone_at_the_end(tmp_path: Path) -> None:
    worker = FaultyWorker(tmp_path, deaths={})
    results, lost = run(make_executor(worker), 5)
    assert sorted(results) == [f"item {item}" for item in range(5)]
    assert lost == []
    assert len(set(results.values())) <= 2
    assert [worker.attempts(item) for item in range(5)] == [1] * 5
    wait_for_exit(results.values())


def test_the_item_of_a_dead_process_runs_again_in_another(tmp_path: Path) -> None:
    worker = FaultyWorker(tmp_path, deaths={0: 2, 3: 1})
    results, lost = run(make_executor(worker, max_failures=2), 4)
    assert sorted(results) == [f"item {item}" for item in range(4)]
    assert lost == []
    assert [worker.attempts(item) for item in range(4)] == [3, 1, 1, 2]


def test_an_item_whose_processes_keep_dying_is_lost_and_the_others_finish(tmp_path: Path) -> None:
    worker = FaultyWorker(tmp_path, deaths={1: 99})
    results, lost = run(make_executor(worker, max_failures=1), 3, loses=True)
    assert sorted(results) == ["item 0", "item 2"]
    assert lost == ["item 1"]
    assert worker.attempts(1) == 2


def test_the_work_stops_after_processes_die_on_three_items_in_a_row(tmp_path: Path) -> None:
    worker = FaultyWorker(tmp_path, deaths=dict.fromkeys(range(6), 99))
    results, lost = run(make_executor(worker, max_workers=1), 6, loses=True)
    assert results == {}
    assert lost == ["item 0", "item 1", "item 2"]
    assert [worker.attempts(item) for item in range(6)] == [1, 1, 1, 0, 0, 0]


def test_an_exception_in_a_worker_counts_like_a_death(tmp_path: Path) -> None:
    worker = FaultyWorker(tmp_path, deaths={}, bugs=(1,))
    results, lost = run(make_executor(worker, max_failures=1), 2, loses=True)
    assert list(results) == ["item 0"]
    assert lost == ["item 1"]
    assert worker.attempts(1) == 2


@pytest.mark.parametrize("rejected", ["open", "run"])
def test_a_user_error_of_a_worker_is_raised_as_it_is(tmp_path: Path, rejected: str) -> None:
    worker = FaultyWorker(tmp_path, deaths={}, rejected=rejected)
    with pytest.raises(TeacherError) as caught:
        run(make_executor(worker, max_workers=1), 2)
    assert caught.value.field == "teacher.model"
    assert worker.attempts(1) == 0


def test_an_interruption_ends_every_process(tmp_path: Path) -> None:
    worker = FaultyWorker(tmp_path, deaths={})
    pids: list[int] = []

    def interrupt(name: str, pid: int) -> None:
        pids.append(pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_executor(worker).run({"a": 0, "b": 1, "c": 2}, on_result=interrupt)
    wait_for_exit(pids)
