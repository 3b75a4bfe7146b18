"""Diagnosis, capacity law, effects and confirmed students in the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.records import Confirmation, TrialStatus
from nas_distill.report import load_content, write_report
from nas_distill.report.markdown import render_markdown
from nas_distill.report.sections.findings import confirmed_students, finding_sections
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import CLASS_NAMES, make_record, make_records, make_run
from tests.report.sections.confirming import HURT, confirm

pytestmark = pytest.mark.usefixtures("known_effects")

RECORDS = make_records(30)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run", RECORDS)


def titles(run: RunDirectory) -> list[str]:
    return [section.title for section in finding_sections(load_content(run))]


def test_a_run_without_students_has_no_findings(tmp_path: Path) -> None:
    assert titles(make_run(tmp_path / "empty")) == []
    assert titles(make_run(tmp_path / "failed", make_records(3, failed=3))) == []


def test_every_student_on_the_front_has_a_diagnosis(run: RunDirectory) -> None:
    content = load_content(run)
    section = next(one for one in finding_sections(content) if one.title == "Diagnosis of the front")
    assert [int(line[0]) for line in section.lines] == list(content.front.numbers)
    found = {one.number: one for one in content.decision.verdicts}
    assert [line[4] for line in section.lines] == [found[number].verdict for number in content.front.numbers]
    others = sum(int(count) for count in re.findall(r"(\d+) \w+", section.lead[0]))
    assert others == 30 - len(content.front.numbers)


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_with_too_few_students_has_no_law(tmp_path: Path, count: int) -> None:
    content = load_content(make_run(tmp_path / "run", make_records(count)))
    section = next(one for one in finding_sections(content) if one.title == "Required size")
    assert len(section.lead) == 1


def test_the_law_gives_the_size_that_the_tolerance_requires(run: RunDirectory) -> None:
    section = next(one for one in finding_sections(load_content(run)) if one.title == "Required size")
    assert "1.00 points" in section.lead[0]
    assert any("b = " in sentence for sentence in section.lead)


def test_confirmed_students_have_intervals_and_the_class_that_the_teacher_hurts(run: RunDirectory) -> None:
    assert confirmed_students(load_content(run)) == ()
    confirm(run, RECORDS, [4, 9], arms=("distilled", "control", "released"))
    students, classes = confirmed_students(load_content(run))
    assert students.title == "Confirmed students, on the test images"
    assert [line[0] for line in students.lines] == ["4", "9"]
    assert all(line[1] == "5" for line in students.lines)
    assert all("±" in line[2] and "±" in line[7] for line in students.lines)
    hurt = [line for line in classes.lines if line[5] == "undistillable"]
    assert {(line[0], line[1]) for line in hurt} == {("4", CLASS_NAMES[HURT]), ("9", CLASS_NAMES[HURT])}
    assert all(float(line[3].split()[0].replace("+", "")) == pytest.approx(10.0, abs=1.5) for line in hurt)
    assert [note.split(".")[0] for note in classes.notes[1:]] == ["Trial 4", "Trial 9"]
    assert classes.lead[0].startswith("2 of 20 ")


def test_the_report_states_whether_the_test_images_were_used(run: RunDirectory) -> None:
    assert "the test images were not used" in render_markdown(load_content(run), ())
    confirm(run, RECORDS, [4], folds=True)
    assert "the test images were not used" in render_markdown(load_content(run), ())
    confirm(run, RECORDS, [4, 9])
    assert "only to confirm 2 students" in render_markdown(load_content(run), ())


def test_the_terminal_shows_confirmed_students(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    confirm(run, RECORDS, [4])
    assert main(["report", str(run.path)]) == 0
    output = capsys.readouterr().out
    assert all(section.title in output for section in confirmed_students(load_content(run)))


def test_folds_and_seeds_have_sections_of_their_own(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    confirm(run, RECORDS, [4], folds=True)
    assert [section.title for section in confirmed_students(load_content(run))] == [
        "Confirmed students, on the test images",
        "Undistillable classes",
        "Confirmed students, on 5 folds of the training images",
        "Undistillable classes, on 5 folds",
    ]


def test_each_number_of_folds_has_its_own_titles_and_caveats(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4], folds=True)
    confirm(run, RECORDS, [4], folds=True, repetitions=3)
    sections = confirmed_students(load_content(run))
    assert len({section.title for section in sections}) == len(sections) == 4
    students, classes = sections[2:]
    assert "Folds share training images" in students.notes[0]
    assert "test images" not in students.notes[0]
    assert "over these folds" in classes.notes[0]


@pytest.mark.parametrize(("folds", "flag"), [(False, "--seeds 5"), (True, "--folds 5")])
def test_too_few_repetitions_name_the_flag(run: RunDirectory, *, folds: bool, flag: str) -> None:
    confirm(run, RECORDS, [4], repetitions=2, folds=folds)
    _, classes = confirmed_students(load_content(run))
    (reason,) = classes.lead[1:]
    assert reason.startswith("10 ")
    assert flag in reason


@pytest.mark.parametrize(
    ("folds", "unseen_after", "reason"),
    [
        (False, 0, "no scored images"),
        (True, 0, "no scored images"),
        (True, 3, "fewer than 5 folds"),
    ],
)
def test_a_class_without_images_has_its_own_reason(
    run: RunDirectory, *, folds: bool, unseen_after: int, reason: str
) -> None:
    confirm(run, RECORDS, [4], folds=folds, unseen=7, unseen_after=unseen_after)
    _, classes = confirmed_students(load_content(run))
    (sentence,) = classes.lead[1:]
    assert sentence.startswith("1 ")
    assert reason in sentence


def test_students_without_both_arms_have_no_classes(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4], arms=("distilled",))
    (students,) = confirmed_students(load_content(run))
    assert students.title == "Confirmed students, on the test images"
    confirm(run, RECORDS, [9])
    _, classes = confirmed_students(load_content(run))
    assert classes.lead[0].startswith("1 of 10 ")
    (sentence,) = classes.lead[1:]
    assert sentence.startswith("Trial 4 ")


def test_failed_trainings_are_failures_of_the_table(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    where = Confirmation(arm="control", repetition=5)
    failed = make_record(4, gap_points=1.0, num_params=9_000, status=TrialStatus.FAILED)
    run.confirmation(4, where, None).write_record(changed_record(failed, confirmation=where))
    students, _ = confirmed_students(load_content(run))
    assert students.failures == (f"trial 4, control, repetition 6 failed: {failed.error}",)
    assert not any("failed" in note for note in students.notes)


def test_page_and_text_hold_every_section(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    content = load_content(run)
    page, text = write_report(content, run.report).html.read_text(), render_markdown(content, finding_sections(content))
    sections = finding_sections(content)
    assert len(sections) == 5
    for section in sections:
        assert f">{section.title.replace(chr(39), '&#39;')}</h2>" in page
        assert f"## {section.title}" in text
