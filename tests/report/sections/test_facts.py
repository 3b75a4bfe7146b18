"""Facts about the run and the classes of its picks."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.analysis.diagnosis.students import Students
from nas_distill.analysis.run import Run
from nas_distill.data.manifest import DataManifest, ImageConversions
from nas_distill.records.resizing import Resizing
from nas_distill.report import load_content
from nas_distill.report.sections.facts import classes_by_gap, hardest_class, run_facts
from nas_distill.report.sections.story import tell_story
from nas_distill.run_directory.files import read_record, write_record
from tests.report.factory import CLASS_NAMES, VALIDATION_IMAGES, make_record, make_run, make_teacher

pytestmark = pytest.mark.usefixtures("known_effects")


def test_classes_with_the_same_name_are_separate(tmp_path: Path) -> None:
    teacher = make_teacher().model_copy(update={"class_names": ("crane", *CLASS_NAMES[1:9], "crane")})
    record = make_record(0, gap_points=1.0, num_params=24_000)
    content = load_content(make_run(tmp_path, [record], teacher=teacher))
    pick = next(pick for pick in content.picks if pick.number == 0)
    assert hardest_class(content, pick) == "crane, +4.00 points on 28 images"


def test_classes_with_images_are_sorted_by_gap() -> None:
    gaps = "[0.5, null, 4.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0, -2.0]"
    found = classes_by_gap({"class_gap_points": gaps}, make_teacher())
    assert found[:4] == ((4.0, "2", 29), (1.0, "4", 29), (0.5, "0", 29), (0.5, "3", 29))
    assert found[-1] == (-2.0, "9", 28)
    assert len(found) == 9
    assert classes_by_gap({"class_gap_points": ""}, make_teacher()) == ()


@pytest.mark.parametrize("top1", [0.9, 1.0])
def test_the_resolution_is_the_interval_of_the_diagnosis(tmp_path: Path, top1: float) -> None:
    teacher = make_teacher(top1=top1)
    records = [make_record(number, gap_points=0.0, num_params=24_000, teacher=teacher) for number in (0, 1)]
    content = load_content(make_run(tmp_path, records, teacher=teacher))
    apart = Students.of(content.trials, content.curves, VALIDATION_IMAGES).resolvable_difference_points(0, 1)
    assert apart > 1.0
    (fact,) = (fact for fact in run_facts(content) if fact.term == "Resolution")
    assert f"\N{PLUS-MINUS SIGN} {apart:.2f} points;" in fact.note


def test_the_data_say_how_images_were_resized_and_converted(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=0.0, num_params=24_000)])
    manifest = read_record(run.data_manifest, DataManifest)
    changes = {"resizing": Resizing(crop_ratio=0.875), "conversions": ImageConversions(cmyk=3)}
    write_record(run.data_manifest, manifest.model_copy(update=changes))
    (fact,) = (fact for fact in run_facts(load_content(run)) if fact.term == "Data")
    assert "bicubic" in fact.note
    assert "0.875" in fact.note
    assert "3 in CMYK" in fact.note


def test_the_interval_of_a_perfect_student_is_not_zero(tmp_path: Path) -> None:
    teacher = make_teacher(top1=1.0)
    run = make_run(tmp_path, [make_record(0, gap_points=0.0, num_params=24_000, teacher=teacher)], teacher=teacher)
    (section,) = (one for one in tell_story(Run(run.path), 0) if one.title == "Comparison with the teacher")
    assert "\N{PLUS-MINUS SIGN} 0.95 " in section.lead[0]
