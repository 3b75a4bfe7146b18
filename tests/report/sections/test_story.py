"""The explanation of one student, for every status of its trial."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas_distill.analysis.formatting import signed
from nas_distill.analysis.run import Run
from nas_distill.errors import ConfigError
from nas_distill.records import TrialStatus
from nas_distill.report.sections.story import tell_story
from nas_distill.run_directory.layout import RunDirectory
from tests.report.factory import make_curve, make_record, make_records, make_run, make_teacher
from tests.report.sections.confirming import confirm

pytestmark = pytest.mark.usefixtures("known_effects")

RECORDS = make_records(20)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    records = [
        *RECORDS,
        make_record(20, gap_points=3.0, num_params=9_000, status=TrialStatus.STOPPED),
        make_record(21, gap_points=3.0, num_params=9_000, status=TrialStatus.FAILED),
    ]
    return make_run(tmp_path / "run", records, rejections=["1,300,000 parameters, too many"], lost=1, running=1)


def story(run: RunDirectory, number: int) -> dict[str, tuple[str, ...]]:
    return {section.title: section.lead for section in tell_story(Run(run.path), number)}


def test_a_student_on_the_front_is_compared_with_its_neighbours(run: RunDirectory) -> None:
    numbers = Run(run.path).front().numbers
    found = story(run, numbers[1])
    first, *others, last = found
    assert first.startswith(f"Trial {numbers[1]}: ")
    assert others == ["Training", "Comparison with the teacher", "Pareto front"]
    rank, cheaper, dearer, law = found["Pareto front"]
    assert str(len(numbers)) in rank
    assert f"trial {numbers[0]} " in cheaper
    assert f"trial {numbers[2]} " in dearer
    assert "Capacity law" in law
    assert last.startswith("Diagnosis: ")


def test_a_dominated_student_is_compared_with_its_dominating_students(run: RunDirectory) -> None:
    loaded = Run(run.path)
    trials = loaded.trials.set_index("number")
    number = next(int(one) for one in loaded.trials["number"] if one not in loaded.front().numbers and one < 20)
    sentence = story(run, number)["Pareto front"][0]
    own = trials.loc[number]
    for one in map(int, re.findall(r"trial (\d+) ", sentence)):
        assert one in loaded.front().numbers
        assert trials.loc[one, "gap_points"] <= own["gap_points"]
        assert trials.loc[one, "num_params"] <= own["num_params"]


def test_a_stopped_student_is_undertrained(run: RunDirectory) -> None:
    found = story(run, 20)
    assert "3 of 12 epochs" in found["Stopped"][0]
    assert "Diagnosis: undertrained" in found


def test_a_failed_student_shows_its_error(run: RunDirectory) -> None:
    assert story(run, 21)["Failed"] == ("epoch 3: the training loss is NaN; lower recipe.learning_rate",)


def test_a_trial_without_a_record_has_a_section(run: RunDirectory) -> None:
    (sentence,) = story(run, 23)["Failed"]
    assert sentence


def test_a_rejected_candidate_shows_its_reason(run: RunDirectory) -> None:
    (lead,) = story(run, 22).values()
    assert lead[0].endswith(": 1,300,000 parameters, too many")


def test_a_running_trial_shows_its_curve(run: RunDirectory) -> None:
    run.trial(24).write_curve(make_curve(5.0, make_teacher(), epochs=4))
    ((title, lead),) = story(run, 24).items()
    assert title == "Trial 24: running"
    assert lead[0].startswith("4 epochs ")


def test_a_confirmed_student_shows_its_selection_bias(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4])
    confirmed = Run(run.path).confirmed()
    assert confirmed is not None
    (student,) = confirmed.students
    assert student.bias.total is not None
    scores, gain, likelihoods, bias, classes = story(run, 4)["Confirmed"]
    assert scores.startswith("5 trainings")
    assert student.distillation_gain_points is not None
    assert signed(student.distillation_gain_points.mean) in gain
    assert student.control_nll_nats is not None
    assert f"{student.control_nll_nats.mean:.3f}" in likelihoods
    assert signed(student.bias.total.mean) in bias
    assert classes.endswith(": 3")


def test_untested_classes_are_not_reported_as_unharmed(run: RunDirectory) -> None:
    confirm(run, RECORDS, [4], arms=("distilled",))
    assert "not compared" in story(run, 4)["Confirmed"][-1]
    confirm(run, RECORDS, [4], repetitions=3)
    assert "not tested" in story(run, 4)["Confirmed"][-1]
    confirm(run, RECORDS, [5], unseen=3)
    assert "1 of 10 classes not tested" in story(run, 5)["Confirmed"][-1]


def test_an_unknown_trial_is_a_user_error(run: RunDirectory) -> None:
    with pytest.raises(ConfigError) as caught:
        story(run, 99)
    assert (caught.value.code, caught.value.field) == ("report.unknown_trial", "TRIAL")
    assert "\n" not in str(caught.value)
