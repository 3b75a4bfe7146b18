from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common.pool import run_all
from benchmarks.common.tasks import Outcome, TaskLog, TaskResult
from nas_distill.errors import TrialError
from nas_distill.records.base import Record

CHECKOUT = Path(__file__).parents[2]

# The worker holds the pipe open until it exits. It imports nothing but the function under test.
PROGRAM = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from benchmarks.common.parent import exit_with_parent

def work(path):
    with open(path, "wb", buffering=0) as pipe:
        pipe.write(b"x")
        time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=exit_with_parent) as pool:
        pool.submit(work, sys.argv[1]).result()
"""


class Sum(Record):
    numbers: tuple[int, ...]


class Total(TaskResult):
    value: int

    def summary(self) -> str:
        return str(self.value)


def add(task: Sum, bonus: int) -> Total:
    if sum(task.numbers) < 0:
        raise TrialError("first line\nsecond line")
    return Total(value=sum(task.numbers) + bonus)


def run_sums(tasks: list[Sum], bonus: int, path: Path) -> dict[Sum, Outcome[Total]]:
    task_log = TaskLog(path, Outcome[Total])
    return dict(run_all(tasks, bonus, processes=2, task_log=task_log, work=add, make_executor=ThreadPoolExecutor))


def test_finished_tasks_are_logged_and_not_repeated(tmp_path: Path) -> None:
    tasks = [Sum(numbers=(number, 1)) for number in (1, 2, -9)]
    path = tmp_path / "log.jsonl"
    found = run_sums(tasks, 10, path)
    summaries = {task.numbers[0]: outcome.summary() for task, outcome in found.items()}
    assert summaries == {1: "12", 2: "13", -9: r"first line\nsecond line"}
    # Only the failed task runs again: another bonus would change the logged results.
    assert run_sums(tasks, 90, path) == found


def test_a_damaged_line_of_the_log_repeats_its_task(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    task = Sum(numbers=(1, 1))
    run_sums([task], 10, path)
    path.write_text(path.read_text()[:-5])
    assert run_sums([task], 90, path)[task].summary() == "92"
    assert run_sums([task], 0, path)[task].summary() == "92"


def test_workers_exit_with_a_killed_parent(tmp_path: Path) -> None:
    script, pipe = tmp_path / "program.py", tmp_path / "pipe"
    script.write_text(PROGRAM)
    os.mkfifo(pipe)
    with killed_at_exit([sys.executable, str(script), str(pipe)]) as parent, pipe.open("rb", buffering=0) as stream:
        assert stream.read(1) == b"x"
        parent.kill()
        assert stream.read(1) == b""  # waits until the worker has exited


@contextmanager
def killed_at_exit(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
