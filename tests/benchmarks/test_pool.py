from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common.pool import run_all
from benchmarks.common.tasks import Outcome, TaskLog, TaskResult
from nas_distill.errors import TrialError
from nas_distill.records.base import Record

CHECKOUT = Path(__file__).parents[2]


class Sum(Record):
    numbers: tuple[int, ...]


class Total(TaskResult):
    value: int

    def summary(self) -> str:
        return str(self.value)


def add(task: Sum, bonus: int) -> Total:
    if sum(task.numbers) < 0:
        raise TrialError("too little\nby far")
    return Total(value=sum(task.numbers) + bonus)


def rest(task: Sum, folder: str) -> Total:
    Path(folder, "begun").write_text(str(os.getpid()))
    time.sleep(600)
    return add(task, 0)


def test_tasks_are_done_kept_and_not_done_again(tmp_path: Path) -> None:
    tasks = [Sum(numbers=(number, 1)) for number in (1, 2, -9)]
    path = tmp_path / "kept.jsonl"
    found = dict(run_all(tasks, 10, processes=2, task_log=TaskLog(path, Outcome[Total]), work=add))
    summaries = {task.numbers[0]: outcome.summary() for task, outcome in found.items()}
    assert summaries == {1: "12", 2: "13", -9: "too little"}
    # What failed is tried again, the rest comes from the file: with another bonus it would be another sum.
    again = dict(run_all(tasks, 90, processes=2, task_log=TaskLog(path, Outcome[Total]), work=add))
    assert again == found


def test_workers_end_with_the_program_that_waits_for_them(tmp_path: Path) -> None:
    program = (
        "from tests.benchmarks.test_pool import *\n"
        "if __name__ == '__main__':\n"
        f"    task_log = TaskLog(None, Outcome[Total])\n"
        f"    list(run_all([Sum(numbers=(1,))], {str(tmp_path)!r}, processes=1, task_log=task_log, work=rest))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
    try:
        begun = tmp_path / "begun"
        assert_comes_true(lambda: begun.exists() and bool(begun.read_text()))
        worker = int(begun.read_text())
    finally:
        parent.kill()
        parent.wait()
    assert_comes_true(lambda: not Path(f"/proc/{worker}").exists())


def assert_comes_true(condition: object, limit_s: float = 120.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
