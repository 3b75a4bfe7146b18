from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas_distill.analysis.run import Run
from nas_distill.analysis.trials.study_reader import COLUMNS
from nas_distill.cli import main
from nas_distill.config import SearchConfig
from nas_distill.errors import ConfigError, NasDistillError, NoStudentError, RunError
from nas_distill.run_directory.layout import RunDirectory
from tests.cli.shell import error_of
from tests.report.factory import make_record, make_records, make_run

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "compare-runs.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "digits", make_records(16, failed=2), rejections=["too large"])
    make_run(folder / "failed", make_records(2, failed=2))
    make_run(folder / "empty")
    make_run(folder / "macs", make_records(4), config=SearchConfig(objectives=("gap_points", "macs")))
    newer = make_run(folder / "newer", [make_record(0, gap_points=1.0, num_params=1000)])
    optuna.load_study(study_name="nas_distill", storage=newer.own_storage).add_trial(
        optuna.trial.create_trial(values=[1.0, 2.0], user_attrs={"result": '{"schema_version": 9, "new": 1}'})
    )
    for seed in range(3):
        make_run(folder / f"seed{seed}", make_records(12, seed=seed))
    return folder


@pytest.fixture
def run(folder: Path) -> RunDirectory:
    return RunDirectory(folder / "digits")


def _json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, object]:
    assert main(["pareto", *map(str, arguments), "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def test_the_front_is_printed_with_its_picks(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pareto", str(run.path)]) == 0
    output = capsys.readouterr().out
    assert "8 of 14 students" in output
    assert "Picked as" in output
    for pick in Run(run.path).picks:
        assert f"{pick.title}: trial {pick.number}" in output
    assert "\x1b" not in output


def test_the_picks_equal_the_picks_of_the_report(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.path)]) == 0
    capsys.readouterr()
    answer = _json(capsys, run.path)
    report = json.loads((run.report / "picks.json").read_text())
    assert answer["picks"] == report["picks"]
    assert answer["headline"] == report["headline"]
    assert answer["hypervolume"] == report["hypervolume"]
    assert answer["reference"] == report["reference"]
    students = answer["students"]
    assert isinstance(students, list)
    assert [student["number"] for student in students] == report["front"]
    for pick in report["picks"]:
        picked = [student["number"] for student in students if pick["rule"] in student["picked_as"]]
        assert picked == [pick["number"]]


def test_json_has_every_column_and_no_json_inside_strings(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = _json(capsys, run.path, "--all", "--where", "num_params > 1e4")
    assert set(answer) == {
        "schema_version", "objectives", "where", "epsilon", "reference", "hypervolume", "runs", "students", "headline",
        "picks", "epsilon_indicator", "attainment", "notes",
    }  # fmt: skip
    students = answer["students"]
    assert isinstance(students, list)
    assert set(students[0]) == {"run", *COLUMNS, "on_front", "picked_as"}
    assert students[0]["arguments"]["stem_type"] == "deep"
    assert students[0]["latency_ms"] is None
    assert all(student["num_params"] > 1e4 for student in students)
    assert {student["on_front"] for student in students} == {True, False}
    assert answer["runs"] == [
        {
            "name": "digits", "complete": 14, "stopped": 0, "failed": 2, "running": 0, "rejected": 1,
            "matching": len(students), "front": sum(student["on_front"] for student in students),
            "on_joint_front": sum(student["on_front"] for student in students), "hypervolume": answer["hypervolume"],
        }
    ]  # fmt: skip
    assert (answer["picks"], answer["epsilon_indicator"], answer["attainment"]) == ([], None, [])


def test_every_key_of_the_json_is_documented(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    answer = _json(capsys, run.path)
    keys = {*answer, *answer["runs"][0], "on_front", "picked_as", "level", "points"}  # type: ignore[index]
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text(encoding="utf-8")))
    assert keys <= documented


def test_the_documented_example_runs(folder: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("runs/digits", str(folder / "digits")), names)
    assert 0 < len(names["found"].front) < 8
    assert (names["found"].front["gap_points"] < 5).all()


def test_csv_has_every_column(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pareto", str(run.path), "--format", "csv"]) == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert list(rows[0]) == ["run", *COLUMNS, "on_front", "picked_as"]
    assert len(rows) == 8
    assert [row["picked_as"] for row in rows].count("knee") == 1
    assert captured.err == ""


def test_epsilon_thins_the_front(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    whole = _json(capsys, run.path)["students"]
    thin = _json(capsys, run.path, "--epsilon", "gap_points=3", "--epsilon", "num_params=0.5")["students"]
    assert isinstance(whole, list)
    assert isinstance(thin, list)
    assert 0 < len(thin) < len(whole)
    for one in whole:
        assert any(
            kept["gap_points"] <= one["gap_points"] + 3 and kept["num_params"] <= 1.5 * one["num_params"] * (1 + 1e-12)
            for kept in thin
        )
    thin = _json(capsys, run.path, "--epsilon", "gap_points=3")["students"]
    assert isinstance(thin, list)
    assert main(["pareto", str(run.path), "--epsilon", "gap_points=3"]) == 0
    assert f"{len(thin)} of 8 students" in capsys.readouterr().out


def test_several_runs_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [folder / f"seed{seed}" for seed in range(3)]
    answer = _json(capsys, *runs)
    assert [(level["level"], level["runs"]) for level in answer["attainment"]] == [(25.0, 1), (50.0, 2), (75.0, 3)]  # type: ignore[attr-defined]
    assert set(answer["attainment"][0]["points"][0]) == {"gap_points", "num_params"}  # type: ignore[index]
    students, indicator = answer["students"], answer["epsilon_indicator"]
    assert isinstance(students, list)
    assert isinstance(indicator, list)
    sizes = {student["num_params"] for student in students}
    assert {point["num_params"] for point in answer["attainment"][0]["points"]} == sizes  # type: ignore[index]
    assert {student["run"] for student in students} <= {"seed0", "seed1", "seed2"}
    assert [indicator[place][place] for place in range(3)] == [0.0, 0.0, 0.0]
    assert main(["pareto", *map(str, runs)]) == 0
    output = capsys.readouterr().out
    for text in ("On joint front", "Additive epsilon", "Attainment", "seed2", "2 of 3"):
        assert text in output
    assert "Picked as" not in output


def test_runs_with_the_same_folder_name_are_named_by_their_paths(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [folder / "digits", Path(shutil.copytree(folder / "digits", tmp_path / "digits"))]
    names = [run["name"] for run in _json(capsys, *runs)["runs"]]  # type: ignore[attr-defined]
    assert names == list(map(str, runs))


def test_notes_of_json_and_csv_go_to_standard_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [folder / "seed0", folder / "failed"]
    for form in ("json", "csv", "table"):
        assert main(["pareto", *map(str, runs), "--format", form]) == 0
        captured = capsys.readouterr()
        text = captured.out if form == "table" else captured.err
        assert text.splitlines()[-1].startswith("note: failed: ")


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (("nosuch",), RunError, None),
        (("digits", "nosuch"), RunError, None),
        (("digits", "digits"), ConfigError, "cli.given_twice"),
        (("failed",), NoStudentError, None),
        (("empty",), NoStudentError, None),
        (("digits", "macs"), ConfigError, None),
        (("newer",), RunError, None),
        (("digits", "--where", "gap_points<-90"), NoStudentError, None),
        (("digits", "--where", "latency_ms<3"), ConfigError, None),
        (("digits", "--where", "gap_pionts<3"), ConfigError, None),
        (("digits", "--objectives", "gap_points,parms"), ConfigError, None),
        (("digits", "--objectives", "gap_points"), ConfigError, None),
        (("digits", "--epsilon", "gap_points"), ConfigError, "cli.not_a_pair"),
        (("digits", "--epsilon", "gap_points=x"), ConfigError, "cli.not_a_number"),
        (("digits", "--epsilon", "gap_points=nan"), ConfigError, None),
        (("digits", "--epsilon", "macs=1"), ConfigError, None),
        (("digits", "--epsilon", "gap_points=1", "--epsilon", "gap_points=2"), ConfigError, "cli.given_twice"),
        (("digits", "--epsilon", "gap_points=1", "--all"), ConfigError, "cli.conflicting_options"),
    ],
)
def test_bad_input_is_a_user_error(
    arguments: tuple[str, ...],
    error: type[NasDistillError],
    code: str | None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    found = error_of("pareto", *arguments)
    assert type(found) is error
    assert code in {None, found.code}
