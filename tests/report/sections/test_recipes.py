from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from nas_distill.config import SearchConfig, SpaceConfig
from nas_distill.records import TrialRecord
from nas_distill.report import build_report, load_content
from nas_distill.report.sections.recipes import recipe_section
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_records, make_run

pytestmark = pytest.mark.usefixtures("known_effects")

SEARCHED = SearchConfig(space=SpaceConfig(recipe="search"))


def by(losses: Mapping[str, Mapping[str, float]], gap_points: float, num_params: int) -> TrialRecord:
    record = make_record(0, gap_points=gap_points, num_params=num_params)
    return changed_record(record, recipe=record.recipe.model_copy(update={"losses": losses, "label_weight": 1.0}))


def many() -> list[TrialRecord]:
    small = [by({"kd": {}}, 4.0 + 0.1 * part, 2000 + part) for part in range(6)]
    small += [by({}, 6.0 + 0.1 * part, 2010 + part) for part in range(6)]
    large = [by({"dist": {"standardise": 1.0}}, 1.0 + part, 50_000 + part) for part in range(7)]
    return small + large + [by({"kd": {}}, 1.5 + part, 60_000 + part) for part in range(5)]


def test_a_search_with_one_loss_has_no_section(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_records(6))
    assert recipe_section(load_content(run)) is None
    paths = build_report(run).paths
    assert "Best loss by size" not in paths.html.read_text() + paths.markdown.read_text()


def test_the_best_loss_of_each_band_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path, many(), config=SEARCHED)
    section = recipe_section(load_content(run))
    assert section is not None
    assert len(section.lead) == 3
    assert section.lead[0] == (
        "2.00k to 2.01k parameters: kd, median gap +4.25 points over 6 trials; second none, median gap +6.05 points "
        "over 2 trials. Difference: not distinguishable."
    )
    assert [section.lines[index][7] for index in sorted(section.marked)] == ["best: not distinguishable"] * 3
    assert {line[1] for line in section.lines} == {"kd", "none", "dist (standardised)"}
    paths = build_report(run).paths
    html, markdown = paths.html.read_text(), paths.markdown.read_text().replace("\\", "")
    for text in (html, markdown):
        assert "Best loss by size" in text
        assert section.lead[0] in text
        assert "dist (standardised)" in text
        assert "+4.05 to +4.45" in text or "+4.00 to +4.50" in text
    assert html.count('<tr class="pick"><td class="t">') == 3


def test_a_clear_difference_is_called_clear(tmp_path: Path) -> None:
    records = [by({"kd": {}}, 4.0 + 0.1 * part, 2000) for part in range(6)]
    records += [by({}, 6.0 + 0.1 * part, 2000) for part in range(6)]
    section = recipe_section(load_content(make_run(tmp_path, records)))
    assert section is not None
    (sentence,) = section.lead
    assert sentence.startswith("2.00k parameters: kd, ")
    assert sentence.endswith("; second none, median gap +6.25 points over 6 trials. Difference: clear.")
    assert section.notes[0].startswith("Too few students for bands")


def test_single_trials_are_not_compared(tmp_path: Path) -> None:
    section = recipe_section(load_content(make_run(tmp_path / "one", [by({"kd": {}}, 1.0, 10), by({}, 2.0, 99)])))
    assert section is not None
    assert section.lead == (
        "10 to 99 parameters: kd has the best single trial (+1.00 points). No loss has two trials.",
    )
    records = [by({"kd": {}}, 3.0, 10), by({"kd": {}}, 4.0, 10), by({}, 2.0, 99)]
    section = recipe_section(load_content(make_run(tmp_path / "two", records)))
    assert section is not None
    assert section.lead[0].endswith("No other loss has two trials. A single trial of none has a gap of +2.00 points.")
    same = make_run(tmp_path / "same", [by({"kd": {}}, 1.0, 10)], config=SEARCHED)
    section = recipe_section(load_content(same))
    assert section is not None
    (sentence,) = section.lead
    assert "(kd)" in sentence
    assert section.lines == ()
    assert recipe_section(load_content(make_run(tmp_path / "none", [], config=SEARCHED))) is None
