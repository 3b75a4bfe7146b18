"""The plain statements around the picks."""

from __future__ import annotations

from pathlib import Path

from nas_distill.report import load_content
from nas_distill.report.facts import classes_by_gap, hardest_class
from tests.report.factory import CLASS_NAMES, make_record, make_run, make_teacher


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    teacher = make_teacher().model_copy(update={"class_names": ("crane", *CLASS_NAMES[1:9], "crane")})
    record = make_record(0, gap_points=1.0, num_params=24_000)
    content = load_content(make_run(tmp_path, [record], teacher=teacher))
    pick = next(pick for pick in content.picks if pick.number == 0)
    assert hardest_class(content, pick) == "crane, +4.00 points on 28 images"


def test_classes_come_worst_first_and_without_those_of_no_images() -> None:
    gaps = "[0.5, null, 4.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0, -2.0]"
    found = classes_by_gap({"class_gap_points": gaps}, make_teacher())
    assert found[:4] == ((4.0, "2", 29), (1.0, "4", 29), (0.5, "0", 29), (0.5, "3", 29))
    assert found[-1] == (-2.0, "9", 28)
    assert len(found) == 9
    assert classes_by_gap({"class_gap_points": ""}, make_teacher()) == ()
