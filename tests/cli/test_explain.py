"""`explain` and `confirm` on the command line: output and errors."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from nas_distill.analysis.run import Run
from nas_distill.cli import main
from nas_distill.errors import ConfigError, NasDistillError, NoStudentError, RunError
from nas_distill.records import TrialRecord
from nas_distill.report.sections.story import tell_story
from nas_distill.run_directory.layout import RunDirectory
from tests.cli.shell import error_of, usage_error_of
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


def test_all_sections_of_an_explanation_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = make_records(12)
    run = make_run(tmp_path / "run", records)
    confirm(run, records, [3])
    assert main(["explain", str(run.path), "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    sections = tell_story(Run(run.path), 3)
    assert len(sections) == 6
    assert {section.title for section in sections} <= set(lines)


@pytest.mark.parametrize(
    ("arguments", "error", "code", "field"),
    [
        (("explain", "RUN", "99"), ConfigError, "report.unknown_trial", "TRIAL"),
        (
            ("confirm", "RUN", "--seeds", "2", "--folds", "2"),
            ConfigError,
            "cli.conflicting_options",
            "--seeds, --folds",
        ),
    ],
)
def test_bad_input_is_an_error_at_its_option(
    tmp_path: Path, arguments: tuple[str, ...], error: type[NasDistillError], code: str, field: str
) -> None:
    run = make_run(tmp_path / "run", make_records(5))
    found = error_of(*(run.path if one == "RUN" else one for one in arguments))
    assert type(found) is error
    assert (found.code, found.field) == (code, field)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("explain", "nowhere", "0"), RunError),
        (("confirm", "nowhere"), RunError),
        (("confirm", "RUN", "--seeds", "0"), ConfigError),
        (("confirm", "RUN", "--folds", "1"), ConfigError),
        (("confirm", "RUN", "--picks", "kneee"), ConfigError),
        (("confirm", "RUN", "--picks", "kneee", "--picks", "knee"), ConfigError),
        (("confirm", "EMPTY"), NoStudentError),
        (("confirm", "FAILED"), NoStudentError),
    ],
)
def test_a_run_or_plan_that_cannot_be_used_is_a_user_error(
    tmp_path: Path, arguments: tuple[str, ...], error: type[NasDistillError]
) -> None:
    runs = {
        "RUN": make_run(tmp_path / "run", make_records(5)),
        "EMPTY": make_run(tmp_path / "empty"),
        "FAILED": make_run(tmp_path / "failed", make_records(2, failed=2)),
    }
    found = error_of(*(runs[one].path if one in runs else one for one in arguments))
    assert type(found) is error
    if len(arguments) >= 4:
        assert str(found).startswith(f"{arguments[2]}: ")


@pytest.mark.parametrize("number", ["x", "1.0"])
def test_a_trial_is_named_by_its_number(number: str) -> None:
    error = usage_error_of("explain", "run", number)
    assert f"'{number}'" in error.format_message()


@pytest.mark.parametrize("verb", ["explain", "pareto", "report"])
def test_records_of_a_newer_version_are_rejected(tmp_path: Path, verb: str) -> None:
    run = make_run(tmp_path / "run", make_records(3))
    with sqlite3.connect(run.path / "study.db") as database:
        database.execute(
            "update trial_user_attributes set value_json = replace(value_json, 'schema_version\\\":2', "
            "'schema_version\\\":3') where key = 'result'"
        )
    assert isinstance(error_of(verb, run.path, *(["0"] if verb == "explain" else [])), RunError)


def test_one_trial_with_images_of_a_single_class_has_an_explanation_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = make_teacher().model_copy(
        update={"class_names": ("seen", "unseen"), "class_top1": (0.98, None), "class_counts": (288, 0)}
    )
    run = make_run(tmp_path / "run", one_class(make_records(1)), teacher=teacher)
    assert main(["explain", str(run.path), "0"]) == 0
    output = capsys.readouterr().out
    assert "seen +2.00 points (288 images)" in output
    assert "unseen" not in output
    assert main(["report", str(run.path)]) == 0
    capsys.readouterr()
    assert main(["pareto", str(run.path), "--format", "json"]) == 0
    assert [one["number"] for one in json.loads(capsys.readouterr().out)["students"]] == [0]


def test_metrics_that_were_not_measured_are_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run: RunDirectory = make_run(tmp_path / "run", make_records(3))
    assert main(["explain", str(run.path), "1"]) == 0
    output = capsys.readouterr().out
    assert "CKA" not in output
    assert "calibration error" not in output
