"""What parts of the package import: a report needs no PyTorch, `make gpu-check` neither Ray nor Optuna.

Two processes import one part after another, because imports take longer than all else here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_check.program import CHECKOUT, plan
from tests.report.factory import make_records, make_run

ANALYSE_IN_STEPS = """
import json, sys
import nas_distill
from nas_distill.cli import main

loaded = {}

def note(step):
    loaded[step] = sorted({"ray", "torch", "timm", "torchvision", "sklearn"} & set(sys.modules))

assert main(["pareto", sys.argv[1], "--format", "json"]) == 0
note("pareto")
assert main(["report", sys.argv[2]]) == 0
note("report")
run = nas_distill.load_run(sys.argv[2])
run.front(); run.picks; run.diagnose(); run.capacity_law(); run.effects()
note("analysis")
print(json.dumps(loaded))
"""

IMPORT_IN_STEPS = """
import importlib, json, pkgutil, sys
loaded = {}

def note(step):
    loaded[step] = sorted({"ray", "optuna", "sklearn", "moocore"} & set(sys.modules))

for name in ("trial", "train", "knowledge", "losses", "models", "data", "config", "records", "run_directory"):
    package = importlib.import_module(f"nas_distill.{name}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
note("trial and below")
for name in sys.argv[1:]:
    importlib.import_module(name)
note("gpu check")
importlib.import_module("nas_distill.search.backend.trainable")
note("worker")
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The heavy packages that are imported after each step."""
    steps = [step.module for step in plan("cuda", Path("out")) if step.module.startswith("benchmarks.")]
    modules = [*(f"{name}.program" for name in steps), "tests.conftest", "tests.train.test_cuda"]
    command = [sys.executable, "-c", IMPORT_IN_STEPS, *modules]
    child = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    found: dict[str, list[str]] = json.loads(child.stdout.splitlines()[-1])
    return found


def test_trial_and_everything_below_import_neither_ray_nor_optuna(loaded: dict[str, list[str]]) -> None:
    assert not {"ray", "optuna"} & set(loaded["trial and below"])


def test_the_steps_of_the_gpu_check_import_neither_ray_nor_optuna(loaded: dict[str, list[str]]) -> None:
    assert not {"ray", "optuna"} & set(loaded["gpu check"])


def test_a_worker_imports_nothing_that_only_the_driver_needs(loaded: dict[str, list[str]]) -> None:
    assert "ray" in loaded["worker"]
    assert not {"optuna", "sklearn", "moocore"} & set(loaded["worker"])


def test_a_finished_run_is_analysed_without_torch_ray_and_the_teacher(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "first", make_records(14)), make_run(tmp_path / "second", make_records(16))
    first.data_manifest.unlink()
    for run in (first, second):
        run.teacher_record.unlink()
    command = [sys.executable, "-c", ANALYSE_IN_STEPS, str(first.path), str(second.path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    front, _ = json.JSONDecoder().raw_decode(child.stdout)
    assert front["schema_version"] == 2
    assert "\x1b" not in child.stdout
    assert (second.report / "index.html").exists()
    steps = json.loads(child.stdout.splitlines()[-1])
    assert steps["pareto"] == []
    heavy = {"ray", "torch", "timm", "torchvision"}
    assert {step: heavy & set(found) for step, found in steps.items()} == {step: set() for step in steps}
