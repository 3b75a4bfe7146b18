from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.gpu_check.program import CHECKOUT, plan

TIME_LIMIT_S = 480

IMPORT_WITHOUT_SEARCH_PACKAGES = """
import importlib, sys
sys.modules.update(ray=None, optuna=None)  # an import of either raises ImportError
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_the_steps_import_neither_ray_nor_optuna() -> None:
    programs = [step.module for step in plan("cuda", Path("out")) if step.module.startswith("benchmarks.")]
    assert programs == ["benchmarks.step_cost", "benchmarks.packing", "benchmarks.distillation"]
    modules = [*(f"{name}.program" for name in programs), "tests.conftest", "tests.train.test_cuda"]
    found = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_SEARCH_PACKAGES, *modules],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def test_the_time_limits_on_a_gpu_add_up_to_less_than_eight_minutes() -> None:
    assert sum(step.limit_s for step in plan("cuda", Path("out"))) <= TIME_LIMIT_S
