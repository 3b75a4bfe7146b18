from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas_distill.analysis.formatting import MINUS, MISSING
from nas_distill.cli import main
from nas_distill.config import PicksConfig, SearchConfig
from nas_distill.records import Fold, TrialRecord, TrialStatus
from nas_distill.report import ReportContent, build_report, load_content
from nas_distill.report.sections.folds import exposure, fold_section
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_records, make_run

pytestmark = pytest.mark.usefixtures("known_effects")

FOLDS = 3


def make_scored(path: Path, *, failed: int | None = None, missing: bool = False) -> RunDirectory:
    """Write a run with scores of every picked student on every fold, except one fold of the last."""
    run = make_run(path, make_records(16), config=SearchConfig(picks=PicksConfig(folds=FOLDS)))
    numbers = [pick.number for pick in load_content(run).picks if pick.number is not None]
    for number in dict.fromkeys(numbers):
        for part in range(FOLDS):
            last = number == numbers[-1] and part == FOLDS - 1
            if not (missing and last):
                put(run, number, part, failed=last and failed is not None)
    return run


def put(run: RunDirectory, number: int, part: int, *, failed: bool) -> TrialRecord:
    status = TrialStatus.FAILED if failed else TrialStatus.COMPLETE
    record = make_record(number, gap_points=1.0 + part, num_params=5000, status=status)
    record = changed_record(record, fold=Fold(number=part, of=FOLDS))
    run.fold(number, Fold(number=part, of=FOLDS)).write_record(record)
    return record


def test_without_folds_there_is_no_section(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_records(4))
    assert fold_section(load_content(run)) is None
    paths = build_report(run).paths
    assert "Cross-validation" not in paths.html.read_text() + paths.markdown.read_text()


def test_means_and_intervals_are_next_to_the_scores_of_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_scored(tmp_path)
    content = load_content(run)
    section = fold_section(content)
    assert section is not None
    assert [line[0] for line in section.lines] == list(
        dict.fromkeys(str(pick.number) for pick in content.picks if pick.number is not None)
    )
    # Gaps 1, 2 and 3: mean 2, standard error 0.577, t(0.975; 2) = 4.303; the teacher's top-1 is 0.98.
    assert {line[2:5] for line in section.lines} == {("3 of 3", "96.00 % ± 2.48", "+2.00 ± 2.48")}
    own = content.front.members.set_index("number")["gap_points"]
    assert all(line[6].strip(f"+{MINUS}") == f"{abs(own[int(line[0])]):.2f}" for line in section.lines)
    assert section.failures == ()
    assert not any("--resume" in note for note in section.notes)
    paths = build_report(run).paths
    for text in (paths.html.read_text(), paths.markdown.read_text().replace("\\", "")):
        assert "Cross-validation, 3 folds" in text
        assert "96.00 % ± 2.48" in text
        assert exposure(content) in text
        assert "Bengio and Grandvalet 2004" in text
    assert main(["report", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "+2.00 ± 2.48" in shown
    assert exposure(content) in " ".join(shown.split())


def test_failed_and_missing_folds_are_shown(tmp_path: Path) -> None:
    content = load_content(make_scored(tmp_path / "failed", failed=1))
    section = fold_section(content)
    assert section is not None
    number = content.picks[-1].number
    assert section.failures == (
        f"trial {number}, fold 3 of 3: epoch 3: the training loss is NaN; lower recipe.learning_rate",
    )
    assert [line[2] for line in section.lines if line[0] == str(number)] == ["2 of 3, 1 failed"]
    assert (
        "fold 3 of 3: epoch 3: the training loss is NaN"
        in build_report(RunDirectory(tmp_path / "failed")).paths.html.read_text()
    )
    section = fold_section(load_content(make_scored(tmp_path / "missing", missing=True)))
    assert section is not None
    (note,) = (note for note in section.notes if "--resume" in note)
    assert note.startswith("1 of ")


def test_a_run_without_folds_or_picks_has_a_report(tmp_path: Path) -> None:
    config = SearchConfig(picks=PicksConfig(folds=FOLDS))
    section = fold_section(load_content(make_run(tmp_path / "unscored", make_records(3), config=config)))
    assert section is not None
    assert {line[2:5] for line in section.lines} == {("0 of 3", MISSING, MISSING)}
    empty = make_run(tmp_path / "empty", [], config=config)
    section = fold_section(load_content(empty))
    assert section is not None
    assert section.lines == ()
    (note,) = section.notes
    assert note in build_report(empty).paths.html.read_text()


def with_teacher(content: ReportContent, trained_on: str | None) -> ReportContent:
    return replace(content, teacher=content.teacher.model_copy(update={"trained_on_data_id": trained_on}))


def test_the_teachers_exposure_is_stated(tmp_path: Path) -> None:
    content = load_content(make_scored(tmp_path))
    sentences = {exposure(with_teacher(content, one)) for one in (content.data.data_id, None, "e" * 12)}
    assert len(sentences) == 3
