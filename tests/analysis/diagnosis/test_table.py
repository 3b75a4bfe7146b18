"""The decision table, rule by rule, on synthetic students; benchmarks.statistics.diagnosis judges trained ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas_distill.analysis.diagnosis.rules import RULES
from nas_distill.analysis.diagnosis.verdicts import VERDICTS, Diagnosis
from nas_distill.config import DiagnosisConfig
from tests.analysis.diagnosis.judging import ENDED, FALLING, judge, student, verdict


def test_a_single_student_that_fits_is_matched() -> None:
    found = judge(student(0))[0]
    assert found.verdict == "matched"
    assert [one.split(":")[0] for one in found.earlier_rules] == [name for name, _, _ in RULES]
    untested = [one.split(":")[0] for one in found.earlier_rules if ": not tested, " in one]
    assert untested == ["loss_mismatch", "architecture_mismatch", "miscalibrated"]
    assert "97.0 %" in found.evidence[0]


def test_a_calibration_error_beyond_the_noise_of_the_images_is_miscalibrated() -> None:
    assert verdict(student(0, ece=0.20, ece_noise=0.04)) == "miscalibrated"
    assert verdict(student(0, ece=0.09, ece_noise=0.04)) == "matched"
    found = judge(student(0))[0]
    assert any(one.startswith("miscalibrated: not tested, ") for one in found.earlier_rules)
    # It comes before a smaller student that the images cannot resolve, and after every cause of a gap.
    assert verdict(student(0, ece=0.2, ece_noise=0.0), student(1, gap=1.1, size=5_000)) == "miscalibrated"
    stuck = student(0, gap=60.0, train_agreement=0.3, agreement=0.3, curve=np.full(8, 60.0), ece=0.2, ece_noise=0.0)
    assert verdict(stuck) == "undecided"


def test_stopped_trials_are_undertrained_and_failed_ones_have_no_verdict() -> None:
    rows = [
        student(0), student(1, status="stopped", gap=np.nan, epochs=3), student(2, status="failed", gap=np.nan),
    ]  # fmt: skip
    found = judge(*rows)
    assert set(found) == {0, 1}
    assert found[1].verdict == "undertrained"
    assert "after 3 of 8 epochs" in found[1].evidence[0]


def test_a_better_loss_for_the_same_architecture_is_a_loss_mismatch() -> None:
    bad = student(0, gap=9.0, spec_id="same", losses='{"rkd":{}}', train_agreement=0.6)
    good = student(1, gap=1.0, spec_id="same")
    found = judge(bad, good)
    assert found[0].verdict == "loss_mismatch"
    for part in ("+1.00 points under kd in trial 1", "+9.00 under rkd"):
        assert part in found[0].evidence[0]
    assert found[1].verdict == "matched"
    # More epochs, another spec, the same recipe, or a difference that the images cannot resolve is no mismatch.
    longer = judge(bad, {**good, "planned_epochs": 9})[0]
    assert longer.verdict == "matched"
    assert longer.earlier_rules[0].startswith("loss_mismatch: not tested, ")
    assert verdict(bad, student(1, gap=1.0, spec_id="other", size=10_001)) == "under_capacity"
    assert verdict({**bad, "losses": good["losses"]}, good) == "matched"
    assert verdict({**bad, "gap_points": 3.0, "top1": 0.92}, good) == "under_capacity"


def test_differences_that_the_images_cannot_resolve_count_as_none() -> None:
    bad, good = student(0, gap=4.0, spec_id="same", losses='{"rkd":{}}'), student(1, gap=1.0, spec_id="same")
    assert verdict(bad, good, images=100_000) == "loss_mismatch"
    assert verdict(bad, good, images=100) == "matched"


def test_a_better_family_of_the_same_size_is_an_architecture_mismatch() -> None:
    blind = student(0, gap=20.0, family="vit", feature_cka=0.4, train_agreement=0.6)
    seeing = student(1, gap=1.0, size=12_000)
    found = judge(blind, seeing)[0]
    assert found.verdict == "architecture_mismatch"
    assert "CKA 0.40 against 0.80" in found.evidence[-1]
    # No mismatch: more than 1.25 times its size, its own family, or features no closer to the teacher's.
    assert verdict(blind, student(1, gap=1.0, size=12_501)) == "under_capacity"
    assert verdict(blind, student(1, gap=1.0, size=12_500)) == "architecture_mismatch"
    assert verdict(blind, student(1, gap=1.0, family="vit", size=12_000)) == "under_capacity"
    assert verdict(blind, student(1, gap=1.0, feature_cka=0.41)) == "under_capacity"


def test_without_measured_features_the_gaps_decide_the_architecture_mismatch() -> None:
    found = judge(student(0, gap=20.0, family="vit", feature_cka=np.nan), student(1, gap=1.0))[0]
    assert found.verdict == "architecture_mismatch"
    assert "CKA" not in found.evidence[-1]


def test_an_equally_good_sibling_excludes_an_architecture_mismatch() -> None:
    blind, seeing = student(0, gap=20.0, family="vit", feature_cka=0.4, train_agreement=0.6), student(1, gap=1.0)
    assert verdict(blind, seeing, student(2, gap=1.5, size=12_000, family="vit")) == "under_capacity"


def test_a_better_smaller_sibling_excludes_under_capacity() -> None:
    large = student(0, gap=20.0, size=100_000, train_agreement=0.5)
    assert verdict(large, student(1, size=10_000)) == "over_capacity"
    assert verdict(large, student(1, size=90_000)) == "over_capacity"
    assert verdict(large, student(1, size=100_001)) == "under_capacity"
    assert verdict(large, student(1, size=10_000, assistant=7)) == "under_capacity"
    assert verdict(large, student(1, size=10_000, gap=19.0)) == "under_capacity"


def test_a_better_student_of_the_same_size_does_not_indicate_the_size() -> None:
    better = student(1, spec_id="same")
    for gap, fit in ((20.0, 0.5), (4.0, 0.97)):
        found = judge(student(0, gap=gap, spec_id="same", train_agreement=fit), better)[0]
        assert found.verdict == "matched"
        assert found.evidence[-1].startswith("trial 1 (resnet, 10.0k parameters) has as many parameters")


def test_a_better_recipe_is_named_by_the_field_that_differs() -> None:
    recipes = [json.dumps({"losses": {"kd": {}}, "learning_rate": rate, "mix": "none"}) for rate in (1e-5, 1e-3)]
    slow = student(0, gap=20.0, spec_id="same", recipe=recipes[0], train_agreement=0.5)
    found = judge(slow, student(1, spec_id="same", recipe=recipes[1]))[0]
    assert found.verdict == "loss_mismatch"
    for part in ("+1.00 points under learning_rate 0.001 in trial 1", "+20.00 under learning_rate 1e-05"):
        assert part in found.evidence[0]
    assert len(found.evidence) == 2
    assert verdict(slow, student(1, spec_id="same", recipe=recipes[0])) == "matched"


def test_losses_of_the_same_name_are_distinguished_by_their_parameters() -> None:
    hot = student(0, gap=10.0, spec_id="same", losses='{"kd":{"temperature":20.0,"weight":1}}')
    found = judge(hot, student(1, spec_id="same", losses='{"kd":{"temperature":2.0,"weight":1}}'))[0]
    assert "+1.00 points under kd.temperature 2 in trial 1" in found.evidence[0]
    assert found.evidence[0].endswith("and +10.00 under kd.temperature 20")
    found = judge(hot, student(1, spec_id="same", losses='{"kd":{"weight":1}}'))[0]
    assert "under kd.temperature not set in trial 1" in found.evidence[0]


@pytest.mark.parametrize(("agreement", "expected"), [(0.899, "under_capacity"), (0.9, "over_capacity")])
def test_a_student_that_does_not_fit_training_images_is_under_capacity(agreement: float, expected: str) -> None:
    assert verdict(student(0, gap=15.0, train_agreement=agreement, agreement=0.7)) == expected


@pytest.mark.parametrize(("fit", "expected"), [(0.93, "under_capacity"), (0.94, "over_capacity")])
def test_a_student_far_behind_is_judged_by_where_it_loses_agreement(fit: float, expected: str) -> None:
    # 0.865 on validation: 0.07 lost on training images and 0.065 from there on, or 0.06 and 0.075.
    assert verdict(student(0, gap=12.0, train_agreement=fit, agreement=0.865)) == expected


@pytest.mark.parametrize(("gap", "expected"), [(5.0, "under_capacity"), (4.99, "matched")])
def test_small_gaps_are_not_judged_by_where_agreement_is_lost(gap: float, expected: str) -> None:
    assert verdict(student(0, gap=gap)) == expected
    assert verdict(student(0, gap=gap), settings=DiagnosisConfig(far_behind_points=9.0)) == "matched"


def test_a_student_level_with_the_teacher_is_not_under_capacity() -> None:
    assert verdict(student(0, gap=-1.0, train_agreement=0.8)) == "matched"
    assert verdict(student(0, gap=25.0, train_agreement=0.8), images=3) == "matched"


@pytest.mark.parametrize(("difference", "expected"), [(5.0, "over_capacity"), (4.99, "matched")])
def test_a_student_that_fits_and_does_not_generalise_is_over_capacity(difference: float, expected: str) -> None:
    assert verdict(student(0, generalisation_gap_points=difference)) == expected


def test_overfitting_that_the_images_cannot_resolve_counts_as_none() -> None:
    assert verdict(student(0, generalisation_gap_points=6.0), images=20) == "matched"


def test_a_smaller_student_that_measured_no_worse_is_over_capacity_of_the_larger() -> None:
    large, small = student(0, gap=1.0, size=10_000), student(1, gap=1.0, size=8_000)
    found = judge(large, small)
    assert (found[0].verdict, found[0].rival) == ("over_capacity", 1)
    assert found[0].evidence[0].startswith("trial 1 (resnet, 8.00k parameters) has 80.0 % of its parameters")
    assert (found[1].verdict, found[1].rival) == ("matched", None)
    assert verdict(large, {**small, "num_params": 8_001}) == "matched"


def test_a_smaller_student_that_measured_worse_by_less_than_the_images_resolve_is_undecided() -> None:
    large, small = student(0, gap=1.0, size=10_000), student(1, gap=1.2, size=8_000)
    found = judge(large, small)[0]
    assert (found.verdict, found.rival) == ("undecided", 1)
    assert "0.20 points worse" in found.evidence[0]
    assert verdict(large, {**small, "num_params": 8_001}) == "matched"
    assert verdict(large, student(1, gap=8.0, size=8_000)) == "matched"
    assert verdict(large, student(1, gap=2.5, size=8_000), images=1000) == "undecided"
    assert verdict(large, student(1, gap=2.5, size=8_000), images=100_000) == "matched"


def test_rules_whose_cause_spoils_other_evidence_are_tested_first() -> None:
    spoilt = student(
        0, gap=30.0, spec_id="same", losses='{"rkd":{}}', family="vit", feature_cka=0.1, train_agreement=0.2,
        generalisation_gap_points=9.0, curve=FALLING,
    )  # fmt: skip
    rivals = student(1, spec_id="same", family="vit"), student(2), student(3, size=5_000)
    ended, fits = {**spoilt, "curve": ENDED}, {"train_agreement": 0.6}
    order = [
        verdict(spoilt, *rivals),
        verdict({**spoilt, **fits}, *rivals[1:]),
        verdict(spoilt, *rivals[1:]),
        verdict(ended, *rivals[1:]),
        verdict({**ended, **fits, "family": "resnet", "gap_points": 2.0, "top1": 0.93}, *rivals[1:]),
        verdict({**ended, "train_agreement": 0.95, "agreement": 0.8}),
        verdict(student(0, ece=0.2, ece_noise=0.01), student(3, gap=1.1, size=5_000)),
        verdict(student(0), student(3, gap=1.1, size=5_000)),
    ]
    assert order == [one for _, one, _ in RULES]
    assert {*order, "matched"} == set(VERDICTS)


def test_a_diagnosis_has_evidence_with_numbers() -> None:
    for one in judge(student(0), student(1, curve=FALLING), student(2, train_agreement=0.1)).values():
        assert any(character.isdigit() for character in one.evidence[0])
        assert Diagnosis.model_validate_json(one.model_dump_json()) == one


def test_without_students_there_is_no_diagnosis() -> None:
    assert judge(student(0, status="failed", gap=np.nan)) == {}
    assert judge() == {}
    with pytest.raises(ValueError, match="0"):
        judge(student(0), images=0)


def test_a_verdict_never_rests_on_a_missing_value() -> None:
    bare = student(
        0, train_agreement=np.nan, agreement=np.nan, generalisation_gap_points=np.nan, feature_cka=np.nan, curve=()
    )
    found = judge(bare)[0]
    assert found.verdict == "matched"
    assert "nan" not in " ".join(found.evidence)
    assert any(one.startswith("under_capacity: not tested, ") for one in found.earlier_rules)
    assert verdict({**bare, "gap_points": 30.0}) == "matched"


def test_a_clearly_better_student_must_be_smaller_for_over_capacity() -> None:
    worse = student(0, gap=30.0, train_agreement=np.nan, agreement=0.97)
    assert verdict(worse, student(1, size=9_999)) == "over_capacity"
    assert verdict(worse, student(1)) == "matched"


def test_students_of_an_assistant_are_not_compared_by_loss_or_family() -> None:
    own = student(0, gap=9.0, spec_id="same", losses='{"rkd":{}}', train_agreement=0.6)
    assert verdict(own, student(1, spec_id="same", assistant=7)) == "under_capacity"
    assert verdict({**own, "assistant": 7}, student(1, spec_id="same", assistant=7)) == "loss_mismatch"
    blind = student(0, gap=20.0, family="vit", feature_cka=0.4, train_agreement=0.6)
    assert verdict(blind, student(1, assistant=7)) == "under_capacity"


def test_other_differences_of_two_recipes_are_part_of_the_evidence() -> None:
    recipes = [json.dumps({"losses": {}, "learning_rate": rate, "mix": "none"}) for rate in (0.1, 0.2)]
    bad = student(0, gap=9.0, spec_id="same", losses='{"rkd":{}}', recipe=recipes[0])
    alike = judge(bad, student(1, spec_id="same", recipe=recipes[0]))[0]
    assert not any("learning_rate" in one for one in alike.evidence)
    found = judge(bad, student(1, spec_id="same", recipe=recipes[1]))[0]
    assert "learning_rate" in found.evidence[-1]


def test_one_student_is_judged_among_all() -> None:
    generator = np.random.default_rng(1)
    rows = [
        student(
            number, gap=float(generator.uniform(-2, 30)), size=int(generator.integers(1_000, 50_000)),
            family=str(generator.choice(["resnet", "vit"])), losses=str(generator.choice(['{"kd":{}}', '{"rkd":{}}'])),
            spec_id=str(generator.integers(20)), train_agreement=float(generator.uniform(0.8, 1.0)),
            feature_cka=float(generator.uniform(0.2, 0.9)), curve=generator.uniform(0.1, 2.0, 8),
        )
        for number in range(60)
    ]  # fmt: skip
    together = judge(*rows)
    assert {one.verdict for one in together.values()} >= {"loss_mismatch", "under_capacity", "over_capacity"}
    for number in range(0, 60, 7):
        assert judge(*rows, number=number) == {number: together[number]}
