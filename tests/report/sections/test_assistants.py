from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from nas_distill.analysis.assistants.choice import AssistantPlan, AssistantRound
from nas_distill.analysis.formatting import MISSING
from nas_distill.cli import main
from nas_distill.config import AssistantsConfig, BudgetConfig, SearchConfig
from nas_distill.records import TeacherLink, TrialRecord, TrialStatus
from nas_distill.report import build_report, front_table, load_content
from nas_distill.report.sections.assistants import chain_section
from nas_distill.report.sections.facts import run_facts
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run, make_teacher

pytestmark = pytest.mark.usefixtures("known_effects")

SIZES = (2_000, 10_000, 150_000)
DIRECT = (30.0, 12.0, 3.0)
REASON = "Trial 2 is nearest to midway."


def make_distilled(
    path: Path, gaps: tuple[float | None, ...] = (20.0, 9.0), *, planned: int = 2, stop_reason: str = ""
) -> RunDirectory:
    """Write a run in which trial 2 is the assistant of the students of trials 0 and 1; None is a failed training."""
    records = [make_record(number, gap_points=DIRECT[number], num_params=SIZES[number]) for number in range(3)]
    for original, gap in enumerate(gaps):
        records.append(_again(records[original], len(records), gap))
    config = SearchConfig(budget=BudgetConfig(trials=3), assistants=AssistantsConfig(count=1))
    run = make_run(path, records, config=config)
    round_ = AssistantRound(assistant=2, students=tuple(range(planned)), reason=REASON)
    write_record(run.assistants, AssistantPlan(rounds=(round_,), stop_reason=stop_reason))
    return run


def _again(first: TrialRecord, number: int, gap: float | None) -> TrialRecord:
    status = TrialStatus.COMPLETE if gap is not None else TrialStatus.FAILED
    record = make_record(
        number, gap_points=gap or 0.0, num_params=first.cost.num_params, spec=first.spec, status=status
    )
    return changed_record(record, seed=first.seed, assistant=2)


def test_without_assistants_there_is_no_section(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000)])
    content = load_content(run)
    assert chain_section(content) is None
    paths = build_report(run).paths
    assert "Teacher assistants" not in paths.html.read_text() + paths.markdown.read_text()
    assert "Distilled from" not in front_table(content)[0]


def test_the_section_shows_the_chain_and_its_gains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_distilled(tmp_path)
    section = chain_section(load_content(run))
    assert section is not None
    (chain,) = section.lead
    assert chain.startswith("teacher small_resnet (1.24M parameters, top-1 98.00 %) → trial 2 (150k parameters, ")
    assert chain.endswith("top-1 95.00 %) → trials 3, 4")
    # Newcombe's intervals of 0.78 - 0.68 and of 0.89 - 0.86, 288 images each (`stats.proportion_difference`).
    assert [line[1:] for line in section.lines] == [
        ("2.00k", "0", "+30.00", "trial 2", "3", "+20.00", "+10.00 ± 7.20"),
        ("10.0k", "1", "+12.00", "trial 2", "4", "+9.00", "+3.00 ± 5.60"),
    ]
    reason, mean, *_ = section.notes
    assert reason == REASON
    assert mean.startswith("Mean gain of the 2 students of assistant 2: +6.50 ± 44.47 points")
    assert "undecided" in mean
    paths = build_report(run).paths
    for text in (paths.html.read_text(), paths.markdown.read_text().replace("\\", "")):
        assert chain in text
        assert "+10.00 ± 7.20" in text
        assert mean in text
        assert "Distilled from" in text
    assert pd.read_csv(paths.trials_csv)["assistant"].fillna(-1).tolist() == [-1, -1, -1, 2, 2]
    assert main(["report", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert chain in shown
    assert mean in shown


def test_headings_without_a_button_have_padding(tmp_path: Path) -> None:
    page = build_report(make_distilled(tmp_path)).paths.html.read_text()
    table = page[page.index("Each student twice") :].partition("</table>")[0]
    assert "<th" in table
    assert "<button" not in table
    rules = dict(re.findall(r"^(\S.*?) \{ (.*) \}$", page, flags=re.MULTILINE))
    # The button has the padding, so its heading has none.
    assert "padding: 8px 10px" in rules["thead th"]
    assert "padding: 8px 10px" in rules["thead button"]
    assert rules[".sortable thead th"] == "padding: 0;"


def test_the_trials_of_assistants_count_as_planned(tmp_path: Path) -> None:
    content = load_content(make_distilled(tmp_path))
    assert (content.counts.complete, content.counts.planned) == (5, 5)
    assert {row["Trial"]: row["Distilled from"] for row in front_table(content)} == {
        "3": "trial 2", "4": "trial 2", "2": "teacher",
    }  # fmt: skip


def test_the_gain_of_one_student_has_its_own_interval(tmp_path: Path) -> None:
    section = chain_section(load_content(make_distilled(tmp_path, (20.0,))))
    assert section is not None
    assert section.lead[0].endswith("→ trial 3 and 1 not started")
    assert section.notes[1].startswith("Gain of the only student of assistant 2: +10.00 ± ")
    assert "points, more than" in section.notes[1]


def test_a_negative_gain_is_harm(tmp_path: Path) -> None:
    section = chain_section(load_content(make_distilled(tmp_path / "one", (50.0,), planned=1)))
    assert section is not None
    assert section.notes[1].startswith("Gain of the only student of assistant 2: \N{MINUS SIGN}")
    assert "points, more than" in section.notes[1]
    section = chain_section(load_content(make_distilled(tmp_path / "two", (50.0, 32.5))))
    assert section is not None
    assert "harmed" in section.notes[1]


def test_a_failed_training_has_no_gain(tmp_path: Path) -> None:
    section = chain_section(load_content(make_distilled(tmp_path, (None, None))))
    assert section is not None
    assert [line[-2:] for line in section.lines] == [(MISSING, MISSING)] * 2
    assert "unknown" in section.notes[1]


def test_students_that_have_not_started_are_counted(tmp_path: Path) -> None:
    run = make_distilled(tmp_path / "chosen", ())
    section = chain_section(load_content(run))
    assert section is not None
    assert section.lead[0].endswith("→ 2 not started")
    assert (section.lines, section.notes) == ((), (REASON,))
    run.assistants.unlink()
    section = chain_section(load_content(run))
    assert section is not None
    assert "--resume" in section.notes[0]


def test_the_reason_to_use_no_assistant_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, config=SearchConfig(assistants=AssistantsConfig(count=1)))
    write_record(run.assistants, AssistantPlan(stop_reason="No assistant is needed: <none>."))
    section = chain_section(load_content(run))
    assert section is not None
    assert (section.lead, section.lines) == ((), ())
    assert "No assistant is needed: &lt;none&gt;." in build_report(run).paths.html.read_text()


def test_a_teacher_that_was_a_student_has_a_lineage(tmp_path: Path) -> None:
    links = (
        TeacherLink(run="first", trial=None, architecture="resnet50", num_params=23_500_000, top1=0.99),
        TeacherLink(run="first", trial=12, architecture="small_resnet", num_params=1_240_000, top1=0.98),
    )
    teacher = make_teacher().model_copy(update={"lineage": links})
    facts = {fact.term: fact.note for fact in run_facts(load_content(make_run(tmp_path, teacher=teacher)))}
    assert facts["Teacher"].endswith(
        "itself a student: resnet50 (the teacher of first, 23.5M parameters, top-1 99.00 %) → "
        "small_resnet (trial 12 of first, 1.24M parameters, top-1 98.00 %)"
    )
