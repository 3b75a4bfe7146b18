from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nas_distill.analysis.confirm.release_gain import release_gain
from nas_distill.analysis.confirm.undistillable import class_effects, undistillable_classes
from nas_distill.analysis.permutation_test import PATTERNS, least_repetitions, sign_patterns, step_down_p_values
from nas_distill.errors import ConfigError
from nas_distill.records import Arm, Fold, TrialRecord
from tests.analysis.confirm.confirming import CLASSES, IMAGES, make_arms, make_confirmed
from tests.records.factory import changed_record


def rows_of(generator: np.random.Generator, repetitions: int, accuracy: float = 0.9) -> list[list[int]]:
    return [row.tolist() for row in generator.binomial(IMAGES, accuracy, size=(repetitions, CLASSES))]


def arms_with_a_hurt_class(repetitions: int, *, hurt: int = 3, lost: int = 15, seed: int = 0) -> list[TrialRecord]:
    generator = np.random.default_rng(seed)
    distilled, control = rows_of(generator, repetitions), rows_of(generator, repetitions)
    for row in distilled:
        row[hurt] -= lost
    return make_arms(7, distilled, control)


def test_only_the_class_that_the_teacher_hurts_is_undistillable() -> None:
    effects = undistillable_classes(arms_with_a_hurt_class(5))
    assert [effect.label for effect in effects if effect.outcome == "undistillable"] == [3]
    assert {effect.outcome for effect in effects} == {"undistillable", "not distinguishable"}
    hurt = effects[3]
    assert (hurt.images, hurt.repetitions, hurt.p_hurt) == (IMAGES, 5, 1 / 32)
    assert hurt.difference_points is not None
    assert hurt.difference_points.mean == pytest.approx(100 * 15 / IMAGES, abs=8)


def test_with_the_arms_swapped_the_class_is_helped() -> None:
    records = arms_with_a_hurt_class(6)
    swapped = [
        changed_record(
            record,
            confirmation=record.confirmation.model_copy(
                update={"arm": "control" if record.confirmation.arm == "distilled" else "distilled"}
            ),
        )
        for record in records
        if record.confirmation is not None
    ]
    before, after = undistillable_classes(records), undistillable_classes(swapped)
    assert after[3].outcome == "helped"
    assert [effect.p_helped for effect in after] == [effect.p_hurt for effect in before]


@pytest.mark.parametrize("repetitions", [1, 2, 3, 4])
def test_with_too_few_repetitions_every_class_is_untested_but_has_an_effect(repetitions: int) -> None:
    effects = undistillable_classes(arms_with_a_hurt_class(repetitions))
    assert {effect.outcome for effect in effects} == {"untested"}
    assert all(effect.p_hurt is None and effect.difference_points is not None for effect in effects)


def test_a_laxer_level_needs_fewer_repetitions() -> None:
    assert [least_repetitions(level) for level in (0.5, 0.25, 0.1, 0.0625, 0.05, 0.01)] == [1, 2, 4, 4, 5, 7]
    assert undistillable_classes(arms_with_a_hurt_class(4), level=0.0625)[3].outcome == "undistillable"


def test_a_class_without_images_is_untested_and_the_others_are_not() -> None:
    images = (IMAGES,) * 9 + (0,)
    records = [
        make_confirmed(7, arm, repetition, [30 - 20 * (arm == "distilled"), *[30] * 8, 0], images=images)
        for arm in ("distilled", "control")
        for repetition in range(5)
    ]
    effects = undistillable_classes(records)
    assert (effects[9].outcome, effects[9].images, effects[9].difference_points) == ("untested", 0, None)
    assert effects[0].outcome == "undistillable"


def test_only_repetitions_with_both_arms_count() -> None:
    records = arms_with_a_hurt_class(6)
    broken = [make_confirmed(7, "control", 5, failed=True) if r is records[-1] else r for r in records]
    released = make_confirmed(7, "released", 0, [0] * CLASSES)
    assert undistillable_classes([*broken, released]) == undistillable_classes(
        [r for r in records if r.confirmation is not None and r.confirmation.repetition < 5]
    )
    assert undistillable_classes([]) == ()
    assert (
        undistillable_classes([r for r in records if r.confirmation is not None and r.confirmation.arm == "distilled"])
        == ()
    )


ARMS: tuple[tuple[Arm, int], ...] = (("distilled", 11), ("control", 20))


def test_folds_add_their_images() -> None:
    parts = [Fold(number=part, of=5) for part in range(5)]
    records = [
        make_confirmed(
            7, arm, part.number, [20 - 9 * (arm == "distilled")] * CLASSES, images=(20 + part.number,) * 10, fold=part
        )
        for arm in ("distilled", "control")
        for part in parts
    ]
    effects = undistillable_classes(records)
    assert [effect.images for effect in effects] == [20 + 21 + 22 + 23 + 24] * CLASSES
    assert {effect.outcome for effect in effects} == {"undistillable"}


def test_levels_out_of_range_and_records_of_two_students_are_rejected() -> None:
    for level in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError) as caught:
            undistillable_classes(arms_with_a_hurt_class(5), level=level)
        assert (caught.value.code, caught.value.field) == ("analysis.level_out_of_range", "level")
    with pytest.raises(ValueError, match="7, 8"):
        undistillable_classes([make_confirmed(7, "distilled", 0), make_confirmed(8, "control", 0)])


@given(st.lists(st.integers(-36, 36), min_size=2, max_size=9))
def test_the_interval_is_scipys_with_a_minimum_width(images_lost: list[int]) -> None:
    differences = 100.0 * np.array(images_lost, dtype=np.float64)[:, None] / IMAGES
    found = class_effects(differences, np.full((len(images_lost), 1), IMAGES))[0].difference_points
    assert found is not None
    assert found.half_width is not None
    count = len(images_lost)
    own = stats.sem(differences[:, 0]) * stats.t.ppf(0.975, count - 1)
    assert found.mean == pytest.approx(differences.mean(), abs=1e-6)
    assert found.half_width == pytest.approx(max(own, 100 / IMAGES * (1 - 0.025 ** (1 / count))), abs=1e-6)


def test_the_minimum_width_covers_trainings_that_agree_by_chance() -> None:
    # An image is lost with probability p per training: R equal ones are seen at 2.5 % or more while p >= 0.025^(1/R).
    for repetitions in (3, 5, 10):
        found = class_effects(np.full((repetitions, 1), 100.0), np.ones((repetitions, 1), dtype=np.int64))[0]
        assert found.difference_points is not None
        assert found.difference_points.half_width is not None
        low = (found.difference_points.mean - found.difference_points.half_width) / 100
        exact = stats.binomtest(repetitions, repetitions).proportion_ci(0.95, method="exact").low
        assert low == pytest.approx(exact)


def brute_force(differences: np.ndarray, resolution: np.ndarray) -> list[float]:
    """Step-down max-T from its definition, one class and pattern at a time."""
    repetitions, classes = differences.shape

    def statistic(values: np.ndarray, least: float) -> float:
        error = values.std(ddof=1) / np.sqrt(repetitions)
        return float(values.mean() / (error + least / np.sqrt(repetitions)))

    typical = np.median([np.sqrt((differences[:, one] ** 2).mean()) for one in range(classes)])
    least = [max(typical, step) for step in resolution]
    observed = [statistic(differences[:, one], least[one]) for one in range(classes)]
    p_values, left, worst = [0.0] * classes, set(range(classes)), 0.0
    for one in sorted(range(classes), key=lambda one: -observed[one]):
        reached = 0
        for signs in product((1.0, -1.0), repeat=repetitions):
            turned = differences * np.array(signs)[:, None]
            reached += max(statistic(turned[:, other], least[other]) for other in left) >= observed[one] - 1e-9
        worst = max(worst, reached / 2**repetitions)
        p_values[one] = worst
        left.remove(one)
    return p_values


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_p_values_equal_their_definition(repetitions: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    differences = np.round(generator.normal(0.7, 2.0, size=(repetitions, classes)))
    resolution = generator.uniform(0.5, 1.5, size=classes)
    # Equal statistics have equal p values in either order but for the last bits.
    assert step_down_p_values(differences, resolution) == pytest.approx(brute_force(differences, resolution))


@given(st.integers(5, 8), st.integers(0, 10_000))
def test_p_values_do_not_depend_on_unit_or_order(repetitions: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    differences = generator.normal(0.5, 1.0, size=(repetitions, 4))
    found = step_down_p_values(differences, np.full(4, 0.1))
    order = generator.permutation(4)
    assert step_down_p_values(differences[:, order], np.full(4, 0.1)) == pytest.approx(found[order])
    assert step_down_p_values(differences[::-1] * 7.0, np.full(4, 0.7)) == pytest.approx(found)
    assert (found >= 2.0**-repetitions).all()


def test_many_repetitions_draw_seeded_patterns() -> None:
    patterns = sign_patterns(15)
    assert patterns.shape == (PATTERNS, 15)
    assert (patterns[0] == 1.0).all()
    assert (patterns == sign_patterns(15)).all()
    assert abs(patterns.mean()) < 0.02
    assert len(np.unique(sign_patterns(6), axis=0)) == 64


@pytest.mark.parametrize(("repetitions", "images"), [(5, 36), (5, 1000), (10, 10)])
def test_false_alarms_stay_under_the_level(repetitions: int, images: int) -> None:
    # 400 exact nulls; more than 30 of them at a rate of 0.05 has a probability of 0.2 %.
    generator = np.random.default_rng(repetitions)
    accuracy = np.linspace(0.7, 0.99, CLASSES)
    counts = np.full(CLASSES, 100.0 / images)
    alarms = 0
    for _ in range(400):
        hits = generator.binomial(images, accuracy, size=(2, repetitions, CLASSES))
        alarms += int((step_down_p_values(100.0 * (hits[0] - hits[1]) / images, counts) <= 0.05).any())
    assert alarms <= 30


def test_the_gain_of_release_is_measured_and_the_cross_fitted_gain_agrees() -> None:
    records = arms_with_a_hurt_class(6, lost=15)
    released: list[TrialRecord] = []
    for record in records:
        assert record.metrics is not None
        assert record.confirmation is not None
        if record.confirmation.arm == "distilled":
            hits = [round((0.98 - (gap or 0.0) / 100) * IMAGES) for gap in record.metrics.class_gap_points]
            hits[3] += 10
            one = make_confirmed(7, "released", record.confirmation.repetition, hits)
            released.append(changed_record(one, released_classes=(3,) if released else (3, 5)))
    effects = undistillable_classes(records)
    found = release_gain([*records, *released], effects)
    assert found is not None
    assert (found.classes, found.released_in, found.repetitions) == ((3,), (6,), 6)
    for gain in (found.gain_over_distilled_points, found.cross_fitted_gain_over_distilled_points):
        assert gain is not None
        assert gain.mean == pytest.approx(1000 / IMAGES)
        assert gain.half_width == pytest.approx(0.0, abs=1e-6)
    assert found.gain_over_control_points is not None
    assert effects[3].difference_points is not None
    assert found.gain_over_control_points.mean == pytest.approx(1000 / IMAGES - effects[3].difference_points.mean)
    assert found.top1_gain_over_distilled_points is not None
    assert found.top1_gain_over_distilled_points.mean == pytest.approx(1000 / (IMAGES * CLASSES))
    assert release_gain(records, effects) is None


def test_the_cross_fitted_gain_has_no_selection_bias() -> None:
    # All arms are one recipe, so release gains nothing; a lax level selects classes by chance.
    generator = np.random.default_rng(5)
    chosen, cross_fitted = [], []
    for _ in range(100):
        records = make_arms(1, rows_of(generator, 5, 0.8), rows_of(generator, 5, 0.8))
        records += [make_confirmed(1, "released", r, hits) for r, hits in enumerate(rows_of(generator, 5, 0.8))]
        found = release_gain(records, undistillable_classes(records, level=0.3), level=0.3)
        assert found is not None
        if found.gain_over_distilled_points is not None:
            chosen.append(found.gain_over_distilled_points.mean)
        if found.cross_fitted_gain_over_distilled_points is not None:
            cross_fitted.append(found.cross_fitted_gain_over_distilled_points.mean)
    assert len(chosen) > 15
    assert np.mean(chosen) > 3.0
    assert abs(np.mean(cross_fitted)) < 3.0 * stats.sem(cross_fitted)
