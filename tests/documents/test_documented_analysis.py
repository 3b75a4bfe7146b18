"""Run docs/how-to/analyse-in-python.md block by block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nas_distill
from nas_distill.errors import RunError
from tests.report.factory import make_records, make_run
from tests.report.sections.confirming import confirm

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "analyse-in-python.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_every_block_runs_in_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_records(40)
    confirm(make_run(tmp_path / "runs" / "digits", records), records, [4, 9])
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {}
    for block in blocks():
        exec(compile(block, str(PAGE), "exec"), session)
    assert {"run", "trials", "front", "verdicts", "law", "effects", "curves", "confirmed"} <= set(session)
    assert session["confirmed"] is not None


def test_tables_are_copies(tmp_path: Path) -> None:
    run = nas_distill.load_run(make_run(tmp_path / "run", make_records(12)).path)
    trials = run.trials
    trials["gap_points"] = 0.0
    assert run.front().members["gap_points"].abs().max() > 0.0


def test_a_folder_without_a_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        nas_distill.load_run(tmp_path)
    assert (caught.value.code, caught.value.field) == ("run.missing", str(tmp_path))
