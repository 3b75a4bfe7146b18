"""Plans of confirmations: which students, by which trainings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nas_distill.analysis.run import Run
from nas_distill.config import PicksConfig
from nas_distill.errors import ConfigError, NoStudentError
from nas_distill.records import Recipe, TrialRecord
from nas_distill.records.recipe import Adaptation
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.retrain.confirm_plan import (
    Request,
    choose_students,
    control_recipe,
    plan_confirmation,
    released_recipe,
    unreleased,
)
from nas_distill.search.retrain.fold_plan import plan_folds
from tests.records.factory import changed_record
from tests.report.factory import make_records, make_run

PICKS = PicksConfig()


def assigned(records: list[TrialRecord]) -> list[TrialTask]:
    return [record.task.model_copy(update={"number": number}) for number, record in enumerate(records)]


def plan(run: RunDirectory, records: list[TrialRecord], request: Request) -> tuple[TrialTask, ...]:
    return plan_confirmation(run, PICKS, assigned(records), request)


def test_by_default_each_pick_is_trained_five_times_in_two_arms(tmp_path: Path) -> None:
    records = make_records(12)
    run = make_run(tmp_path / "run", records)
    planned = plan(run, records, Request())
    numbers = choose_students(Run(run.path), PICKS, ())
    assert 1 <= len(numbers) <= 3
    found = [(one.number, one.confirmation.repetition, one.confirmation.arm) for one in planned if one.confirmation]
    expected = [(number, part, arm) for number in numbers for part in range(5) for arm in ("distilled", "control")]
    assert found == expected
    assert all(one.fold is None for one in planned)


def test_arms_share_their_seed_and_repetitions_do_not(tmp_path: Path) -> None:
    records = make_records(12)
    run = make_run(tmp_path / "run", records)
    by_seeds, by_folds = plan(run, records, Request(seeds=3)), plan(run, records, Request(folds=3))
    for planned in (by_seeds, by_folds):
        arms: dict[tuple[int, int], set[int]] = {}
        for one in planned:
            assert one.confirmation is not None
            arms.setdefault((one.number, one.confirmation.repetition), set()).add(one.seed)
        assert all(len(seeds) == 1 for seeds in arms.values())
        assert len(set.union(*arms.values())) == len(arms)
    searched = {record.seed for record in records}
    scored = plan_folds(run, PicksConfig(folds=3), assigned(records))  # by `search --folds 3`
    assert {one.number for one in scored} == {one.number for one in by_folds}
    epochs = {
        int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]) for seed in searched for epoch in range(12)
    }
    used = searched | epochs | {one.seed for one in scored}
    assert not used & {one.seed for one in (*by_seeds, *by_folds)}
    assert not {one.seed for one in by_seeds} & {one.seed for one in by_folds}
    assert [one.fold.number for one in by_folds if one.fold] == [
        one.confirmation.repetition for one in by_folds if one.confirmation
    ]


def test_more_repetitions_keep_the_tasks_of_fewer(tmp_path: Path) -> None:
    records = make_records(12)
    run = make_run(tmp_path / "run", records)
    few, many = (plan(run, records, Request(seeds=seeds)) for seeds in (2, 5))
    assert {one.digest() for one in few} < {one.digest() for one in many}


def test_the_control_is_the_recipe_without_the_teacher() -> None:
    recipe = Recipe(losses={"kd": {"weight": 0.9}}, label_weight=0.1, adaptive=Adaptation(release=True), epochs=7)
    assert control_recipe(recipe) == Recipe(losses={}, label_weight=1.0, epochs=7)
    assert control_recipe(Recipe(losses={"kd": {}}, label_weight=2.0)).label_weight == 2.0
    assert released_recipe(recipe.model_copy(update={"adaptive": Adaptation(release_holdout=0.2)})).adaptive == (
        Adaptation(release=True, release_holdout=0.2)
    )


def test_release_is_a_third_arm_where_the_recipe_allows_it(tmp_path: Path) -> None:
    records = make_records(4)
    run = make_run(tmp_path / "run", records)

    def arms(recipe: Recipe) -> tuple[set[str], tuple[str, ...]]:
        own = [changed_record(record, recipe=recipe) for record in records]
        planned = plan(run, own, Request(picks=("best_quality",), release=True))
        return {one.confirmation.arm for one in planned if one.confirmation}, unreleased(planned)

    assert arms(Recipe()) == ({"distilled", "control", "released"}, ())
    for recipe, values in (
        (Recipe(adaptive=Adaptation(release=True)), ()),
        (Recipe(losses={}), ()),
        (Recipe(losses={"none": {}}), ()),
        (Recipe(losses={"hint": {}}), ("hint",)),
        (Recipe(mix="mixup"), ("recipe.mix", "mixup")),
    ):
        names, (line,) = arms(recipe)
        assert names == {"distilled", "control"}
        assert re.match(r"trial \d ", line)
        assert all(value in line for value in values)


def test_a_student_of_other_weights_is_also_trained_from_random_weights(tmp_path: Path) -> None:
    records = make_records(6)
    run = make_run(tmp_path / "run", records)

    def trained(initial_weights: str | None) -> tuple[TrialTask, ...]:
        own = [
            changed_record(record, spec=record.spec.model_copy(update={"initial_weights": initial_weights}))
            for record in records
        ]
        return plan(run, own, Request(picks=("best_quality",), seeds=2))

    for start in (None, "random"):
        assert {one.confirmation.arm for one in trained(start) if one.confirmation} == {"distilled", "control"}
    planned = trained("teacher")
    by_arm = {one.confirmation.arm: one for one in planned if one.confirmation}
    assert list(by_arm) == ["distilled", "control", "random_weights"]
    assert len(planned) == 6
    distilled, control, from_random = by_arm.values()
    assert (distilled.spec.initial_weights, control.spec.initial_weights) == ("teacher", "teacher")
    assert from_random == distilled.model_copy(
        update={
            "spec": distilled.spec.model_copy(update={"initial_weights": "random"}),
            "confirmation": from_random.confirmation,
        }
    )


def test_students_are_named_by_rule_by_number_and_as_the_front(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_records(15))
    loaded = Run(run.path)
    front = choose_students(loaded, PICKS, ("front",))
    assert len(front) > 3
    assert set(choose_students(loaded, PICKS, ())) <= set(front)
    outside = next(number for number in range(15) if number not in front)
    assert choose_students(loaded, PICKS, (str(outside), "best_quality", str(outside))) == (outside, front[-1])


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("kneee", "confirm.unknown_pick"),
        ("-1", "confirm.unknown_pick"),
        ("", "confirm.unknown_pick"),
        ("99", "confirm.trial_not_trained"),
        ("11", "confirm.trial_not_trained"),  # it failed
    ],
)
def test_a_name_without_a_student_is_rejected(tmp_path: Path, name: str, code: str) -> None:
    loaded = Run(make_run(tmp_path / "run", make_records(12, failed=1)).path)
    with pytest.raises(ConfigError) as caught:
        choose_students(loaded, PICKS, (name,))
    assert (caught.value.code, caught.value.field) == (code, "--picks")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("records", [[], make_records(2, failed=2)])
def test_a_run_without_a_student_is_rejected(tmp_path: Path, records: list[TrialRecord]) -> None:
    with pytest.raises(NoStudentError) as caught:
        choose_students(Run(make_run(tmp_path / "run", records).path), PICKS, ())
    assert caught.value.code == "confirm.no_student"


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"seeds": 0}, "confirm.no_seeds", "--seeds"),
        ({"folds": 1}, "confirm.bad_fold_count", "--folds"),
        ({"folds": -2}, "confirm.bad_fold_count", "--folds"),
    ],
)
def test_impossible_numbers_are_rejected(values: dict[str, int], code: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Request(**values)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.field) == (code, field)


def test_folds_of_a_recipe_that_mixes_images_are_rejected(tmp_path: Path) -> None:
    records = [changed_record(record, recipe=Recipe(mix="cutmix")) for record in make_records(3)]
    run = make_run(tmp_path / "run", records)
    with pytest.raises(ConfigError) as caught:
        plan(run, records, Request(folds=2))
    assert (caught.value.code, caught.value.field) == ("confirm.folds_with_mixing", "--folds")
    assert plan(run, records, Request(seeds=1))
