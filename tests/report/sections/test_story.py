"""One student's story, whatever became of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.analysis.run import Run
from nas_distill.errors import ConfigError
from nas_distill.records import TrialStatus
from nas_distill.report.sections.story import tell_story
from nas_distill.run_directory.layout import RunDirectory
from tests.report.factory import make_curve, make_record, make_records, make_run, make_teacher
from tests.report.sections.confirming import confirm

RECORDS = make_records(20)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    records = [
        *RECORDS,
        make_record(20, gap_points=3.0, num_params=9_000, status=TrialStatus.STOPPED),
        make_record(21, gap_points=3.0, num_params=9_000, status=TrialStatus.FAILED),
    ]
    return make_run(tmp_path / "run", records, rejections=["1,300,000 parameters, too many"], lost=1)


def story(run: RunDirectory, number: int) -> dict[str, tuple[str, ...]]:
    return {section.title: section.lead for section in tell_story(Run(run.path), number)}


def test_a_student_of_the_front(run: RunDirectory) -> None:
    number = Run(run.path).front().numbers[1]
    found = story(run, number)
    assert list(found)[1:4] == ["Training", "Against the teacher", "Standing"]
    assert next(iter(found)).startswith(f"Trial {number}: ")
    assert found["Standing"][0].startswith("On the front of ")
    assert found["Standing"][1].startswith("The next cheaper there is trial ")
    assert found["Standing"][2].startswith("The next dearer there is trial ")
    assert "By the capacity law" in found["Standing"][3]
    (verdict,) = (lead for title, lead in found.items() if title.startswith("Verdict: "))
    assert verdict[-1].startswith("What to try: ")


def test_a_dominated_student_is_told_its_rivals(run: RunDirectory) -> None:
    loaded = Run(run.path)
    number = next(int(one) for one in loaded.trials["number"] if one not in loaded.front().numbers and one < 20)
    lead = story(run, number)["Standing"]
    assert lead[0].startswith("Not on the front: no worse in any objective and better in one are trial ")


def test_a_stopped_student_is_told_where(run: RunDirectory) -> None:
    found = story(run, 20)
    assert found["Stopped"][0].startswith("The scheduler stopped it after 3 of 12 epochs at a gap of ")
    assert found["Verdict: undertrained"][0].startswith("the scheduler stopped it after 3 of 12 epochs")


def test_a_failed_student_is_told_why(run: RunDirectory) -> None:
    assert story(run, 21)["Failed"] == ("epoch 3: the training loss is NaN; lower recipe.learning_rate",)


def test_a_lost_student_is_told_so(run: RunDirectory) -> None:
    assert story(run, 23)["Failed"][0].startswith("ended without a result")


def test_a_refused_candidate_is_told_why(run: RunDirectory) -> None:
    (lead,) = story(run, 22).values()
    assert lead[0].endswith(": 1,300,000 parameters, too many")


def test_a_student_in_flight_is_told_so_far(run: RunDirectory) -> None:
    run.trial(24).write_curve(make_curve(5.0, make_teacher(), epochs=4))
    ((title, lead),) = story(run, 24).items()
    assert title == "Trial 24: in flight"
    assert lead[0].startswith("4 epochs are on disk, the last with a gap of +")


def test_a_confirmed_student_is_told_by_how_much_the_search_flattered_it(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    lead = story(run, 4)["Confirmed"]
    assert lead[0].startswith("5 trainings, scored on test images: top-1 ")
    assert lead[1].startswith("Without the teacher top-1 ")
    assert "by the choice of a lucky seed" in lead[2]
    assert lead[3] == "Undistillable classes: 3"


def test_classes_that_were_not_tested_are_not_said_to_be_unhurt(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4], arms=("distilled",))
    without = "Undistillable classes: not compared: no repetition ended both with and without the teacher"
    assert story(run, 4)["Confirmed"][-1] == without
    confirm(run, RECORDS, [4], repetitions=3)
    few = "Undistillable classes: not tested: 5 repetitions with and without the teacher are needed, there are 3"
    assert story(run, 4)["Confirmed"][-1] == few
    confirm(run, RECORDS, [5], unseen=3)
    assert story(run, 5)["Confirmed"][-1] == "Undistillable classes: none found (1 of 10 classes not tested)"


def test_a_trial_that_is_not_there_is_a_user_error(run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match=r"TRIAL 99: is no trial of .*, of which 23 have ended, 0 to 23") as caught:
        story(run, 99)
    assert "\n" not in str(caught.value)
