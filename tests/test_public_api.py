"""What `import nas_distill` offers to scripts and notebooks."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import nas_distill
from nas_distill.analysis.front.picks import Picks, pick_students, trial_of
from nas_distill.errors import ConfigError, NoStudentError, RunError
from nas_distill.objectives import OBJECTIVES
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


def test_a_pick_or_a_number_names_a_trial(run: nas_distill.Run) -> None:
    names = ("smallest_within_tolerance", "smallest", "best", "2", 2, "17")
    assert [run.trial_number(name) for name in names] == [1, 1, 2, 2, 2, 17]
    for name in ("elbow", "", "-1", "1.5"):
        with pytest.raises(ConfigError) as unknown:
            run.trial_number(name)
        assert (unknown.value.code, unknown.value.field) == ("analysis.unknown_pick", "pick")
    strict = Picks(pick_students(run.front(), gap_tolerance_points=-5.0, images=288))
    with pytest.raises(NoStudentError) as missing:
        trial_of("smallest", strict)
    assert (missing.value.code, missing.value.field) == ("analysis.pick_without_student", "pick")


def test_a_trial_without_weights_cannot_be_loaded(run: nas_distill.Run) -> None:
    with pytest.raises(RunError) as caught:
        run.load_student("smallest")
    assert caught.value.field == f"trial 1 of {run.path}"


def test_wrong_picks_get_clear_errors(run: nas_distill.Run) -> None:
    with pytest.raises(ConfigError) as unknown:
        run.picks["elbow"]
    assert (unknown.value.code, unknown.value.field) == ("analysis.unknown_pick", "picks")
    with pytest.raises(TypeError):
        run.picks("knee")
    with pytest.raises(ConfigError) as tolerance:
        run.picks_within("knee")  # type: ignore[arg-type]
    assert tolerance.value.code == "analysis.gap_tolerance_not_a_number"


def test_the_function_search_survives_imports_of_the_subpackage() -> None:
    code = (
        "import sys, types, nas_distill\n"
        "heavy = {'torch', 'ray', 'optuna', 'pandas', 'numpy', 'pydantic', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import nas_distill.search.early_stopping\n"
        "assert isinstance(nas_distill.search, types.FunctionType)\n"
        "assert isinstance(sys.modules['nas_distill.search'], types.ModuleType)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    importlib.import_module("nas_distill.search.study.metadata")
    importlib.import_module("nas_distill.search.service")
    assert isinstance(nas_distill.search, types.FunctionType)


def test_no_module_reaches_the_subpackage_search_by_attribute() -> None:
    """`nas_distill.search` is a function, so `import nas_distill.search.x as y` would fail."""
    for folder in ("nas_distill", "tests", "benchmarks"):
        for path in (Path(nas_distill.__file__).parents[1] / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?m)^\s*import nas_distill\.search\.[\w.]+ as ", text), path


def test_every_public_name_exists() -> None:
    assert all(getattr(nas_distill, name) is not None for name in nas_distill.__all__)
    with pytest.raises(AttributeError):
        nas_distill.nothing  # noqa: B018 - the attribute is what is tested


def test_a_registered_objective_has_a_front_and_picks(monkeypatch: pytest.MonkeyPatch, run: nas_distill.Run) -> None:
    monkeypatch.setattr("nas_distill.objectives.OBJECTIVES", dict(OBJECTIVES))
    nas_distill.register_objective("top1", kind="quality", direction="maximize", label="Top-1 accuracy", reference=0.1)
    front = run.front(("top1", "macs"))
    assert front.numbers
    assert pick_students(front, gap_tolerance_points=1.0, images=288)[2].title == "Best top-1 accuracy"
    for name, code in (
        ("accuracy", "config.objective_not_recorded"),
        ("nll_nats", "config.objective_without_reference"),
    ):
        with pytest.raises(ConfigError) as caught:
            nas_distill.register_objective(name, kind="quality", direction="maximize", label="Accuracy")
        assert (caught.value.code, caught.value.field) == (code, "objectives")
