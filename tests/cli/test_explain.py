"""`explain` and `confirm` on the command line: what is printed, and how bad input ends."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.records import TrialRecord
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import make_records, make_run, make_teacher
from tests.report.sections.confirming import confirm


def one_class(records: list[TrialRecord]) -> list[TrialRecord]:
    found = []
    for record in records:
        assert record.metrics is not None
        metrics = record.metrics.model_copy(update={"class_gap_points": (2.0, None), "class_counts": (288, 0)})
        found.append(changed_record(record, metrics=metrics))
    return found


def test_a_story_is_told_in_sections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = make_records(12)
    run = make_run(tmp_path / "run", records)
    confirm(run, records, [3])
    assert main(["explain", str(run.path), "3"]) == 0
    told = capsys.readouterr().out
    for heading in (
        "Trial 3: ",
        "Training",
        "Against the teacher",
        "Standing",
        "Verdict: ",
        "What to try: ",
        "Confirmed",
    ):
        assert heading in told


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("explain", "RUN", "99"), 2, "TRIAL 99: is no trial of"),
        (("explain", "RUN", "x"), 2, "Invalid value for 'TRIAL': 'x' must be the number of a trial"),
        (("explain", "RUN", "1.0"), 2, "Invalid value for 'TRIAL': '1.0' must be the number of a trial"),
        (("explain", "nowhere", "0"), 6, "holds no run"),
        (("confirm", "nowhere"), 6, "holds no run"),
        (("confirm", "RUN", "--seeds", "2", "--folds", "2"), 2, "give one of them"),
        (("confirm", "RUN", "--seeds", "0"), 2, "--seeds: 0 repetitions confirm nothing"),
        (("confirm", "RUN", "--folds", "1"), 2, "--folds: 1 is no number of parts"),
        (("confirm", "RUN", "--picks", "kneee"), 2, "--picks: 'kneee' is no pick; did you mean 'knee'?"),
        (("confirm", "EMPTY"), 10, "no student was fully trained"),
        (("confirm", "FAILED"), 10, "no student was fully trained"),
    ],
)
def test_bad_input_is_one_line_and_the_code_of_its_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, expected: str
) -> None:
    runs = {
        "RUN": make_run(tmp_path / "run", make_records(5)),
        "EMPTY": make_run(tmp_path / "empty"),
        "FAILED": make_run(tmp_path / "failed", make_records(2, failed=2)),
    }
    assert main([str(runs[one].path) if one in runs else one for one in arguments]) == code
    heard = capsys.readouterr()
    assert expected in heard.err
    assert [line for line in heard.err.splitlines() if line.startswith("error: ")] == [heard.err.splitlines()[-1]]


@pytest.mark.parametrize("verb", ["explain", "pareto", "report"])
def test_records_of_a_newer_version_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    run = make_run(tmp_path / "run", make_records(3))
    with sqlite3.connect(run.path / "study.db") as database:
        database.execute(
            "update trial_user_attributes set value_json = replace(value_json, 'schema_version\\\":2', "
            "'schema_version\\\":3') where key = 'result'"
        )
    assert main([verb, str(run.path), *(["0"] if verb == "explain" else [])]) == 6
    assert "written by another version of nas_distill" in capsys.readouterr().err


def test_one_trial_with_images_of_one_class_alone_has_a_story_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = make_teacher().model_copy(
        update={"class_names": ("seen", "unseen"), "class_top1": (0.98, None), "class_counts": (288, 0)}
    )
    run = make_run(tmp_path / "run", one_class(make_records(1)), teacher=teacher)
    assert main(["explain", str(run.path), "0"]) == 0
    told = capsys.readouterr().out
    assert "No capacity law: " in told
    assert "Largest gaps by class: seen +2.00 points (288 images)" in told
    assert main(["report", str(run.path)]) == 0
    capsys.readouterr()
    assert main(["pareto", str(run.path), "--format", "json"]) == 0
    assert [one["number"] for one in json.loads(capsys.readouterr().out)["students"]] == [0]


def test_records_from_before_features_were_measured_have_a_story(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: RunDirectory = make_run(tmp_path / "run", make_records(3))
    assert main(["explain", str(run.path), "1"]) == 0
    told = capsys.readouterr().out
    assert "feature CKA" not in told
    assert "calibration error" not in told
