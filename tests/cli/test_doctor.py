from __future__ import annotations

from pathlib import Path

from nas_distill.errors import InstallationError
from tests.cli.shell import run_cli, usage_error_of

BROKEN_TORCHVISION = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


def test_all_checks_pass_on_this_machine_with_a_ray_task(tmp_path: Path) -> None:
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


def test_a_torchvision_of_another_build_fails_with_its_fix(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(BROKEN_TORCHVISION, encoding="utf-8")
    child = run_cli("doctor", environment={"PYTHONPATH": str(tmp_path), "COLUMNS": "200"})
    assert child.returncode == InstallationError.exit_status
    assert "RuntimeError: operator torchvision::nms does not exist" in child.stdout
    assert "pip install --force-reinstall torch torchvision" in child.stdout
    assert "torch and torchvision" in child.stderr
    assert child.stderr.count("\n") == 1


def test_a_missing_folder_is_a_usage_error() -> None:
    assert "--folder" in usage_error_of("doctor", "--folder", "no/such/folder").format_message()
