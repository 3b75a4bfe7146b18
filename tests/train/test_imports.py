"""Training and everything below it work without Ray and Optuna, so that `make gpu-check` needs neither."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_RAY_AND_OPTUNA = """
import importlib, pkgutil, sys
sys.modules["ray"] = sys.modules["optuna"] = None  # an import raises ImportError
for name in ("trial", "train", "knowledge", "losses", "models", "data", "config", "records", "run_directory"):
    package = importlib.import_module(f"nas_distill.{name}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print("imported")
"""


def test_trial_and_everything_below_import_without_ray_and_optuna() -> None:
    child = subprocess.run([sys.executable, "-c", WITHOUT_RAY_AND_OPTUNA], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout.strip()) == (0, "imported"), child.stderr
