from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nas_distill.cli.report import command
from nas_distill.errors import RunError
from nas_distill.report import load_content
from tests.report.factory import make_records, make_run

pytestmark = pytest.mark.usefixtures("known_effects")


def test_it_prints_front_picks_counts_and_path(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_records(16, failed=2), rejections=["too large"])
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0
    content = load_content(run)
    assert content.decision.headline.sentence in result.output
    for pick in content.picks:
        assert f"{pick.title}: trial {pick.number}" in result.output
    assert content.counts.sentence() in result.output
    assert result.output.endswith(f"{run.report / 'index.html'}\n")


def test_a_run_without_a_student_has_a_report(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_records(1, failed=1))
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0
    assert load_content(run).decision.headline.sentence in result.output
    assert (run.report / "index.html").exists()


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(result.exception, RunError)
