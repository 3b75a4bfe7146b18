"""Initial weights in everything that a user reads about a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas_distill.analysis.formatting import MISSING
from nas_distill.analysis.initial_weights import describe_initial_weights, label_initial_weights
from nas_distill.analysis.run import Run
from nas_distill.cli import main
from nas_distill.config import PicksConfig
from nas_distill.records import InitialWeightsReport, Recipe, TrialRecord
from nas_distill.records.base import parse_record
from nas_distill.report import build_report, front_table, load_content
from nas_distill.report.build import PicksFile
from nas_distill.report.sections.facts import run_facts
from nas_distill.report.sections.findings import confirmed_students
from nas_distill.report.sections.folds import STARTS_EXPOSED, fold_section
from nas_distill.report.sections.story import tell_story
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_records, make_run
from tests.report.sections.confirming import confirm

pytestmark = pytest.mark.usefixtures("known_effects")

OTHER_RUN = "run:/runs/first/3"


def started(record: TrialRecord, initial_weights: str, copied_share: float) -> TrialRecord:
    report = InitialWeightsReport(source=initial_weights, copied_share=copied_share)
    return changed_record(
        record,
        spec=record.spec.model_copy(update={"initial_weights": initial_weights}),
        initial_weights=report,
        recipe=Recipe(epochs=record.recipe.epochs, learning_rate=0.004, fine_tuning_rate_share=0.25),
    )


RECORDS = [
    started(make_record(0, gap_points=0.5, num_params=5_000), "teacher", 0.875),
    started(make_record(1, gap_points=9.0, num_params=2_000), "random", 0.0),
    started(make_record(2, gap_points=0.1, num_params=90_000), OTHER_RUN, 1.0),
]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run", RECORDS)


def test_initial_weights_have_a_label_and_a_description() -> None:
    assert [label_initial_weights(one) for one in ("random", "teacher", OTHER_RUN)] == ["random", "teacher", "first/3"]
    for value in ("random", "teacher", "pretrained", OTHER_RUN):
        assert describe_initial_weights(value)
    assert "first" in describe_initial_weights(OTHER_RUN)


def test_the_headline_and_the_picks_name_them(run: RunDirectory) -> None:
    content = load_content(run)
    assert describe_initial_weights("teacher") in content.decision.headline.sentence
    report = build_report(run)
    written = parse_record(PicksFile, report.paths.picks.read_bytes(), origin="picks.json")
    assert [pick.initial_weights for pick in written.picks][0::2] == ["teacher", OTHER_RUN]
    for text in (report.paths.html.read_text(), report.paths.markdown.read_text()):
        assert "first/3" in text
        assert describe_initial_weights("teacher").replace("'", "&#39;") in text.replace("'", "&#39;")
    (fact,) = (fact for fact in run_facts(content) if fact.term == "Initial weights")
    assert fact.text == "random, teacher"
    assert "1 from random weights" in fact.note


def test_tables_show_them_only_if_they_vary(run: RunDirectory, tmp_path: Path) -> None:
    assert [row["Starts from"] for row in front_table(load_content(run))] == ["random", "teacher", "first/3"]
    for records in (make_records(5), [started(record, "random", 0.0) for record in make_records(5)]):
        other = make_run(tmp_path / f"other-{records[0].spec.initial_weights}", records)
        assert "Starts from" not in front_table(load_content(other))[0]
        assert "started from" not in load_content(other).decision.headline.sentence


def test_trials_can_be_filtered_by_them(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    where = "initial_weights == 'teacher' and copied_share > 0.8"
    assert main(["pareto", str(run.path), "--where", where, "--format", "csv"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    cells = dict(zip(head.split(","), line.split(","), strict=False))
    assert cells["number"] == "0"


def test_the_explanation_of_a_student_shows_the_share_and_the_learning_rate_used(run: RunDirectory) -> None:
    def sentences(number: int) -> str:
        return "\n".join(line for section in tell_story(Run(run.path), number) for line in section.lead)

    assert "87.5" in sentences(0)
    assert "learning rate 0.001" in sentences(0)
    assert "random weights" in sentences(1)
    assert "learning rate 0.004" in sentences(1)


def test_a_confirmed_student_shows_what_its_initial_weights_were_worth(run: RunDirectory) -> None:
    confirm(run, RECORDS, [0], arms=("distilled", "control", "random_weights"))
    confirm(run, RECORDS, [1])
    section = confirmed_students(load_content(run))[0]
    cells = [dict(zip(section.columns, line, strict=True)) for line in section.lines]
    assert [one["Initial weights"] for one in cells] == ["teacher", "random"]
    assert float(cells[0]["Gain from initial weights, points"].split()[0]) == pytest.approx(1.8, abs=0.5)
    assert "\N{PLUS-MINUS SIGN}" in cells[0]["Gain from initial weights, points"]
    assert cells[1]["Gain from initial weights, points"] == MISSING
    confirmed = Run(run.path).confirmed()
    assert confirmed is not None
    assert confirmed.initial_weights_gain is not None
    first, _ = confirmed.students
    lines = [line for one in tell_story(Run(run.path), 0) if one.title == "Confirmed" for line in one.lead]
    assert first.initial_weights_gain_points is not None
    assert any(f"{first.initial_weights_gain_points.mean:+.2f}" in line for line in lines)


def test_folds_warn_of_weights_that_have_seen_them(run: RunDirectory) -> None:
    confirm(run, RECORDS, [1], folds=True)
    assert STARTS_EXPOSED not in confirmed_students(load_content(run))[0].notes
    confirm(run, RECORDS, [0], folds=True, arms=("distilled", "control", "random_weights"))
    assert STARTS_EXPOSED in confirmed_students(load_content(run))[0].notes
    content = load_content(run)
    folded = content.config.model_copy(update={"picks": PicksConfig(folds=3)})
    section = fold_section(replace(content, config=folded))
    assert section is not None
    assert STARTS_EXPOSED in section.notes
