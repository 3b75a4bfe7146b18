from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from nas_distill.cli.report import command
from nas_distill.errors import RunError
from tests.report.factory import make_records, make_run

_PROGRAM = """
import json, sys
from nas_distill.cli.report import command
command([sys.argv[1]], standalone_mode=False)
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(loaded & {"ray", "torch", "timm", "torchvision"})))
"""


def test_it_needs_neither_ray_nor_torch_nor_anything_large(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_records(16))
    run.teacher_record.unlink()
    run.teacher.rmdir()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert "\x1b" not in done.stdout
    assert (tmp_path / "report" / "index.html").exists()


def test_the_help_lists_all_that_is_read() -> None:
    told = " ".join(CliRunner().invoke(command, ["--help"]).stdout.split())
    assert "choice of assistants, and results of folds and of confirm are read" in told


def test_it_prints_front_picks_counts_and_path(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_records(16, failed=2), rejections=["too large"])
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0
    assert "students" in result.output
    assert "Knee: trial " in result.output
    assert "14 of 16 trials complete, 2 failed, 1 rejected before training" in result.output
    assert result.output.endswith(f"report: {run.report / 'index.html'}\n")


def test_it_goes_on_without_a_student(tmp_path: Path) -> None:
    make_run(tmp_path, make_records(1, failed=1))
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0
    assert "No student has been fully trained." in result.output


def test_no_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(result.exception, RunError)
