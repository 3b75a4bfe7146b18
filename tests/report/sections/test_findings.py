"""Verdicts, law, effects and confirmed students in the report, on the page, as text and on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.records import Confirmation, TrialStatus
from nas_distill.report import load_content, write_report
from nas_distill.report.markdown import render_markdown
from nas_distill.report.sections.findings import confirmed, finding_sections, verdicts
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import CLASS_NAMES, make_record, make_records, make_run
from tests.report.sections.confirming import HURT, confirm

RECORDS = make_records(30)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run", RECORDS)


def titles(run: RunDirectory) -> list[str]:
    return [section.title for section in finding_sections(load_content(run))]


def test_a_run_without_students_has_no_findings(tmp_path: Path) -> None:
    assert titles(make_run(tmp_path / "empty")) == []
    assert titles(make_run(tmp_path / "failed", make_records(3, failed=3))) == []


def test_every_student_of_the_front_has_its_verdict(run: RunDirectory) -> None:
    content = load_content(run)
    section = next(one for one in finding_sections(content) if one.title.startswith("Why"))
    assert [int(line[0]) for line in section.lines] == list(content.front.numbers)
    found = verdicts(content)
    assert [line[4] for line in section.lines] == [found[number].verdict for number in content.front.numbers]
    others = sum(int(count) for count in re.findall(r"(\d+) \w+", section.lead[0]))
    assert others == 30 - len(content.front.numbers)


@pytest.mark.parametrize(("count", "students"), [(1, "1 fully trained student"), (2, "2 fully trained students")])
def test_a_run_too_short_for_a_law_says_what_it_lacks(tmp_path: Path, count: int, students: str) -> None:
    content = load_content(make_run(tmp_path / "run", make_records(count)))
    section = next(one for one in finding_sections(content) if one.title == "What size it takes")
    assert section.lead[0].startswith(f"No capacity law: the run has {students}, and a law needs 6")
    assert len(section.lead) == 1


def test_the_law_says_what_the_tolerance_takes(run: RunDirectory) -> None:
    section = next(one for one in finding_sections(load_content(run)) if one.title == "What size it takes")
    assert "1.00 points" in section.lead[0]
    assert any("b = " in sentence for sentence in section.lead)


def test_confirmed_students_are_told_with_intervals_and_the_class_that_the_teacher_hurts(run: RunDirectory) -> None:
    assert confirmed(load_content(run)) == ()
    confirm(run, RECORDS, [4, 9], arms=("distilled", "control", "released"))
    students, classes = confirmed(load_content(run))
    assert students.title == "Confirmed students, on the test images"
    assert [line[0] for line in students.lines] == ["4", "9"]
    assert all(line[1] == "5" for line in students.lines)
    assert "what other images would change is not in it" in students.notes[0]
    assert all("±" in line[2] and "±" in line[7] for line in students.lines)
    hurt = [line for line in classes.lines if line[5] == "undistillable"]
    assert {(line[0], line[1]) for line in hurt} == {("4", CLASS_NAMES[HURT]), ("9", CLASS_NAMES[HURT])}
    assert all(float(line[3].split()[0].replace("+", "")) == pytest.approx(10.0, abs=1.5) for line in hurt)
    assert all("per-class release changed top-1" in note for note in classes.notes[1:])
    assert classes.lead[0].startswith("2 of 20 pairs of student and class are undistillable")


def test_the_report_says_that_the_test_images_were_opened(run: RunDirectory) -> None:
    assert "the test images were not touched" in render_markdown(load_content(run), ())
    confirm(run, RECORDS, [4], folds=True)
    assert "the test images were not touched" in render_markdown(load_content(run), ())
    confirm(run, RECORDS, [4, 9])
    assert "opened to confirm 2 students, for nothing else" in render_markdown(load_content(run), ())


def test_the_terminal_shows_confirmed_students(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    confirm(run, RECORDS, [4])
    assert main(["report", str(run.path)]) == 0
    told = capsys.readouterr().out
    assert "Confirmed students, on the test images" in told
    assert "Undistillable classes" in told


def test_folds_and_seeds_are_told_apart(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    confirm(run, RECORDS, [4], folds=True)
    assert [section.title for section in confirmed(load_content(run))] == [
        "Confirmed students, on the test images",
        "Undistillable classes",
        "Confirmed students, on 5 folds of the training images",
        "Undistillable classes, on 5 folds",
    ]


def test_each_number_of_folds_has_its_own_titles_and_caveats(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4], folds=True)
    confirm(run, RECORDS, [4], folds=True, repetitions=3)
    sections = confirmed(load_content(run))
    assert len({section.title for section in sections}) == len(sections) == 4
    students, classes = sections[2:]
    assert "Folds share training images" in students.notes[0]
    assert "test images" not in students.notes[0]
    assert "over these folds" in classes.notes[0]
    assert "Folds share training images" in classes.notes[0]
    assert "these images" not in classes.notes[0]


@pytest.mark.parametrize(("folds", "flag"), [(False, "--seeds 5"), (True, "--folds 5")])
def test_too_few_repetitions_say_so(run: RunDirectory, *, folds: bool, flag: str) -> None:
    confirm(run, RECORDS, [4], repetitions=2, folds=folds)
    _, classes = confirmed(load_content(run))
    (reason,) = classes.lead[1:]
    needed = "5 repetitions that ended with and without the teacher are needed"
    assert reason == f"10 could not be tested: {needed}; give {flag} or more."


@pytest.mark.parametrize(
    ("folds", "unseen_after", "reason"),
    [
        (False, 0, "no image of the class was scored."),
        (True, 0, "no image of the class was scored."),
        (True, 3, "the class has images on fewer than 5 folds."),
    ],
)
def test_a_class_without_images_is_not_put_down_to_repetitions(
    run: RunDirectory, *, folds: bool, unseen_after: int, reason: str
) -> None:
    confirm(run, RECORDS, [4], folds=folds, unseen=7, unseen_after=unseen_after)
    _, classes = confirmed(load_content(run))
    assert classes.lead[1:] == (f"1 could not be tested: {reason}",)


def test_students_without_both_arms_have_no_classes(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4], arms=("distilled",))
    (students,) = confirmed(load_content(run))
    assert students.title == "Confirmed students, on the test images"
    confirm(run, RECORDS, [9])
    _, classes = confirmed(load_content(run))
    assert classes.lead[0].startswith("1 of 10 pairs")
    assert classes.lead[1:] == ("Trial 4 is not among them: no repetition ended both with and without the teacher.",)


def test_failed_trainings_are_failures_of_the_table(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    where = Confirmation(arm="control", repetition=5)
    failed = make_record(4, gap_points=1.0, num_params=9_000, status=TrialStatus.FAILED)
    run.confirmation(4, where, None).write_record(changed_record(failed, confirmation=where))
    students, _ = confirmed(load_content(run))
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
