from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from nas_distill.analysis.run import Run
from nas_distill.analysis.trials.study_reader import COLUMNS
from nas_distill.config import BudgetConfig, SearchConfig
from nas_distill.errors import RunError
from nas_distill.records import StudentSpec, TrialRecord
from nas_distill.records.base import parse_record
from nas_distill.report import build_report, front_table, load_content
from nas_distill.report.build import PicksFile
from nas_distill.report.sections.facts import run_facts
from nas_distill.report.sections.story import tell_story
from nas_distill.run_directory.layout import RunDirectory
from tests.report.factory import make_record, make_records, make_run

_VOID = {"meta", "link", "br", "img"}


class _Page(HTMLParser):
    """A page: checks that its elements nest and collects ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []  # type: ignore[list-item]  # narrowed by get
        self.links += [value for name in ("href", "src") if (value := values.get(name))]
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def _read_picks(path: Path) -> PicksFile:
    return parse_record(PicksFile, path.read_bytes(), origin=str(path))


def _run(path: Path, records: list[TrialRecord], **arguments: object) -> RunDirectory:
    config = SearchConfig(budget=BudgetConfig(trials=max(len(records), 1)))
    return make_run(path, records, config=config, **arguments)  # type: ignore[arg-type]  # passed on unchanged


@pytest.mark.parametrize("count", [0, 1, 2, 16, 200])
def test_the_page_is_well_formed_and_self_contained(tmp_path: Path, count: int) -> None:
    run = _run(tmp_path, make_records(count, families=9), rejections=["too large"] * 3, running=1, lost=2)
    text = build_report(run).paths.html.read_text()
    page = _Page(text)
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"https?:|@import|url\(", text)
    assert len(text.encode()) < 300_000


def test_a_report_is_reproducible(tmp_path: Path) -> None:
    run = _run(tmp_path, make_records(16, failed=2))
    first = {path.name: path.read_bytes() for path in sorted(build_report(run).paths.html.parent.iterdir())}
    second = {path.name: path.read_bytes() for path in sorted(build_report(run).paths.html.parent.iterdir())}
    assert first == second
    assert set(first) == {
        "index.html",
        "report.md",
        "trials.csv",
        "trials.parquet",
        "pareto.csv",
        "picks.json",
    }


def test_every_output_shows_the_same_decision(tmp_path: Path) -> None:
    run = _run(tmp_path, make_records(16, failed=2))
    decision, paths = Run(run.path).decision, build_report(run).paths
    written = _read_picks(paths.picks)
    assert (written.headline, written.picks) == (decision.headline, decision.picks)
    page = _Page(paths.html.read_text())
    command = decision.headline.command
    assert command is not None
    for text in (decision.headline.sentence, command):
        assert text in page.words
        assert text in paths.markdown.read_text().replace("\\", "")
    for number, verdict in zip(written.front, written.verdicts, strict=True):
        assert verdict == decision.verdict_on(number)
        assert verdict.remedy.sentence in page.words
        (diagnosis,) = [one for one in tell_story(Run(run.path), number) if one.title.startswith("Diagnosis: ")]
        assert diagnosis.title == f"Diagnosis: {verdict.verdict}"
        assert f"What to do: {verdict.remedy.sentence}" in diagnosis.lead


def test_names_and_errors_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|*x*"
    spec = StudentSpec(architecture=evil, family=evil, arguments={"a": evil})
    run = _run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000, spec=spec)], rejections=[evil])
    paths = build_report(run).paths
    assert "<script>alert" not in paths.html.read_text()
    assert r"\<script\>alert(1)\</script\>\|\*x\*" in paths.markdown.read_text()


def test_a_run_without_a_complete_trial_has_a_report(tmp_path: Path) -> None:
    run = _run(tmp_path, make_records(2, failed=2), rejections=["too large"])
    paths = build_report(run).paths
    page = _Page(paths.html.read_text())
    content = load_content(run)
    assert (content.counts.complete, content.counts.failed, content.counts.rejected) == (0, 2, 1)
    for text in (content.decision.headline.sentence, content.counts.sentence(), "the training loss is NaN"):
        assert text in page.words
    assert content.decision.headline.sentence in paths.markdown.read_text()
    assert front_table(content) == ()
    assert _read_picks(paths.picks).front == ()


def test_the_page_describes_the_run(tmp_path: Path) -> None:
    words = _Page(build_report(_run(tmp_path, make_records(16))).paths.html.read_text()).words
    for statement in (
        "digits: 10 classes, 8x8 px, grey",
        "1149 training, 288 validation and 360 test images",
        "small_resnet: top-1 98.00 %, 1.24M parameters",
        "dist(weight=1)",
        "seed 0",
        "16 of 16 trials complete",
        "points x decades",
        "+88.00 points, 1.24M parameters",
        "one validation image is 0.35 points",
    ):
        assert statement in words


def test_tables_hold_all_trials_and_the_front(tmp_path: Path) -> None:
    run = _run(tmp_path, make_records(16, failed=2))
    report = build_report(run)
    content, paths = report.content, report.paths
    parquet = pd.read_parquet(paths.trials_parquet)
    assert list(parquet.columns) == list(COLUMNS)
    assert parquet["gap_points"].equals(content.trials["gap_points"])
    assert pd.read_csv(paths.trials_csv)["number"].tolist() == list(range(16))
    assert tuple(pd.read_csv(paths.pareto_csv)["number"]) == content.front.numbers
    picks = _read_picks(paths.picks)
    assert picks.picks == content.picks
    assert picks.reference == {"gap_points": pytest.approx(88.0), "num_params": 1_240_000}


def test_the_table_of_the_terminal(tmp_path: Path) -> None:
    records = [
        make_record(0, gap_points=0.83, num_params=24_310),
        make_record(1, gap_points=5.0, num_params=50_000),
    ]
    content = load_content(_run(tmp_path, records))
    assert front_table(content) == (
        {
            "Trial": "0",
            "Student": 'small_resnet(depths=[1, 2, 1], stem_type="deep", width=8)',
            "Parameters": "24.3k",
            "MACs": "754k",
            "Gap, points": "+0.83",
            "Top-1": "97.17 %",
            "Agreement": "96.7 %",
            "Picked as": ", ".join(pick.title for pick in content.picks),
        },
    )


@pytest.mark.parametrize(
    ("gap_points", "accuracy"),
    [
        (0.83, "97.2 % top-1, 0.8 \N{PLUS-MINUS SIGN} 2.2 points below it on 288 images"),
        (-0.5, "98.5 % top-1, 0.5 \N{PLUS-MINUS SIGN} 1.8 points above it on 288 images"),
        (0.02, "98.0 % top-1, level with it (\N{PLUS-MINUS SIGN} 1.9 points on 288 images)"),
    ],
)
def test_the_headline_recommends_the_smallest_student_within_the_tolerance(
    tmp_path: Path, gap_points: float, accuracy: str
) -> None:
    records = [make_record(0, gap_points=gap_points, num_params=24_310)]
    assert load_content(_run(tmp_path, records)).decision.headline.sentence == (
        f"Take trial 0: 51x smaller than the teacher, {accuracy}. One seed, not confirmed."
    )


def test_the_headline_names_the_best_student_if_none_is_within_the_tolerance(tmp_path: Path) -> None:
    records = [
        make_record(0, gap_points=9.0, num_params=24_310),
        make_record(1, gap_points=5.0, num_params=500_000),
    ]
    content = load_content(_run(tmp_path, records))
    assert content.picks[0].number is None
    assert "trial 1: 2.5x smaller" in content.decision.headline.sentence


def test_the_report_shows_the_objectives_of_the_run(tmp_path: Path) -> None:
    config = SearchConfig(objectives=("agreement", "size_bytes", "nll_nats"))
    run = make_run(tmp_path, make_records(16), config=config)
    words = _Page(build_report(run).paths.html.read_text()).words
    assert all(pick.title in words for pick in load_content(run).picks)
    assert "% " in words
    assert {"Size", "NLL, nats"} <= set(front_table(load_content(run))[0])


def test_an_error_names_a_missing_manifest(tmp_path: Path) -> None:
    run = _run(tmp_path, [])
    run.data_manifest.unlink()
    with pytest.raises(RunError) as caught:
        build_report(run)
    assert str(run.data_manifest) in str(caught.value)


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    run = _run(tmp_path, [])
    run.report.write_text("in the way")
    with pytest.raises(RunError) as caught:
        build_report(run)
    assert str(run.report) in str(caught.value)


def test_a_searched_recipe_is_not_described_by_the_configuration(tmp_path: Path) -> None:
    config = SearchConfig.model_validate({"space": {"recipe": "search"}})
    content = load_content(make_run(tmp_path, make_records(4), config=config))
    (fact,) = [fact for fact in run_facts(content) if fact.term == "Recipe"]
    assert fact.text.endswith("(search)")
    assert "dist" not in fact.note
