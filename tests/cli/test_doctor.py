from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.errors import InstallationError
from tests.cli.shell import run_cli

BROKEN_TORCHVISION = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


def test_this_machine_is_well_and_runs_a_ray_task(tmp_path: Path) -> None:
    child = run_cli("doctor", "--ray", "--folder", str(tmp_path))
    assert child.returncode == 0, child.stdout + child.stderr
    for name in (
        "Python",
        "packages",
        "SQLite",
        "torch and torchvision",
        "GPUs",
        "a local Ray started and ran one",
    ):
        assert name in child.stdout
    assert "FAIL" not in child.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_torchvision_of_another_build_is_recognised(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(BROKEN_TORCHVISION, encoding="utf-8")
    child = run_cli("doctor", environment={"PYTHONPATH": str(tmp_path), "COLUMNS": "200"})
    assert child.returncode == InstallationError.exit_status
    assert "two different builds; RuntimeError: operator torchvision::nms does not exist" in child.stdout
    assert "pip install --force-reinstall torch torchvision" in child.stdout
    assert child.stderr.startswith("error: failed: torch and torchvision; ")


def test_a_missing_folder_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--folder", "no/such/folder"]) == 2
    assert "--folder" in capsys.readouterr().err
