"""What `import nas_distill` offers to scripts and notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest

import nas_distill
from nas_distill.errors import ConfigError
from nas_distill.records import TrialStatus
from tests.report.factory import make_record, make_run


@pytest.fixture
def run(tmp_path: Path) -> nas_distill.Run:
    records = [
        make_record(0, gap_points=3.0, num_params=1000),
        make_record(1, gap_points=0.5, num_params=5000),
        make_record(2, gap_points=0.4, num_params=90000),
        make_record(3, gap_points=9.0, num_params=2000, status=TrialStatus.FAILED),
    ]
    return nas_distill.load_run(make_run(tmp_path / "run", records).path)


def test_a_run_prints_its_trials(run: nas_distill.Run) -> None:
    assert repr(run) == f"Run('{run.path}': 4 trials (3 complete, 1 failed), 3 on the front)"
    (run.path / "study.db").write_bytes(b"")
    assert repr(nas_distill.load_run(run.path)) == f"Run('{run.path}')"


def test_picks_are_found_by_rule_and_by_position(run: nas_distill.Run) -> None:
    assert [pick.rule for pick in run.picks] == ["smallest_within_tolerance", "knee", "best_quality"]
    assert (run.picks["smallest_within_tolerance"].number, run.picks["best_quality"].number) == (1, 2)
    assert run.picks[1] == run.picks["knee"]
    assert run.picks_within(5.0)["smallest_within_tolerance"].number == 0
    assert repr(run.picks).startswith("Picks(smallest_within_tolerance=1, knee=")


def test_wrong_picks_get_clear_errors(run: nas_distill.Run) -> None:
    with pytest.raises(ConfigError) as unknown:
        run.picks["elbow"]
    assert (unknown.value.code, unknown.value.field) == ("analysis.unknown_pick", "picks")
    with pytest.raises(TypeError, match=r"run\.picks\['knee'\]"):
        run.picks("knee")
    with pytest.raises(ConfigError) as tolerance:
        run.picks_within("knee")  # type: ignore[arg-type]
    assert tolerance.value.code == "analysis.gap_tolerance_not_a_number"
