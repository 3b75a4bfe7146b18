"""The decision table, rule by rule, on students made by hand; benchmarks/diagnosis.py judges trained ones."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import REMEDIES, VERDICTS, Diagnosis
from nas_distill.analysis.trials.columns import COLUMNS, CURVE_VALUES
from nas_distill.config import DiagnosisConfig

IMAGES = 1000
FALLING = np.array([2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6])
ENDED = np.array([2.0, 1.0, 0.5, 0.25, 0.21, 0.2, 0.2, 0.2])


def student(number: int, *, gap: float = 1.0, size: int = 10_000, **changes: Any) -> dict[str, Any]:
    """Returns the row of a student that fits and generalises."""
    return {
        "number": number, "status": "complete", "spec_id": f"spec{number}", "family": "resnet",
        "architecture": "small_resnet", "num_params": size, "gap_points": gap, "top1": 0.95 - gap / 100.0,
        "agreement": 0.96, "train_agreement": 0.97, "train_divergence_nats": 0.05,
        "generalisation_gap_points": 1.0, "feature_cka": 0.8,
        "losses": '{"kd":{}}', "epochs": 8, "planned_epochs": 8, "curve": ENDED, **changes,
    }  # fmt: skip


def judge(
    *rows: dict[str, Any], images: int = IMAGES, settings: DiagnosisConfig | None = None, number: int | None = None
) -> dict[int, Diagnosis]:
    trials = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    curves = [
        {"number": row["number"], "epoch": epoch, **dict.fromkeys(CURVE_VALUES, value)}
        for row in rows
        for epoch, value in enumerate(row.get("curve", ()), 1)
    ]
    table = pd.DataFrame(curves, columns=["number", "epoch", *CURVE_VALUES])
    found = diagnose(trials.astype(dict(COLUMNS)), table, images=images, settings=settings, number=number)
    return {one.number: one for one in found}


def verdict(*rows: dict[str, Any], **options: Any) -> str:
    """Returns the verdict on the first."""
    return judge(*rows, **options)[rows[0]["number"]].verdict


def test_a_student_alone_that_fits_is_matched() -> None:
    found = judge(student(0))[0]
    assert found.verdict == "matched"
    assert [one.split(":")[0] for one in found.passed_over] == list(VERDICTS[:-1])
    assert found.passed_over[0] == (
        "loss_mismatch: not tested, its architecture was not trained under another loss or recipe"
    )
    assert found.passed_over[2] == "architecture_mismatch: not tested, no student of another family is of its size"
    assert "97.0 %" in found.evidence[0]


def test_a_curve_that_still_falls_is_undertrained() -> None:
    found = judge(student(0, curve=FALLING, train_agreement=0.2))[0]
    assert found.verdict == "undertrained"
    assert len(found.passed_over) == 1
    assert "50.0 % of the whole fall" in found.evidence[0]
    assert "0.2000 nats an epoch" in found.evidence[1]
    assert verdict(student(0, curve=ENDED)) == "matched"


def test_the_threshold_of_late_progress_is_a_setting() -> None:
    assert verdict(student(0, curve=FALLING), settings=DiagnosisConfig(late_progress=0.49)) == "undertrained"
    assert verdict(student(0, curve=FALLING), settings=DiagnosisConfig(late_progress=0.51)) == "matched"


def test_a_curve_that_creeps_is_not_undertrained_however_long_it_creeps() -> None:
    creeping = np.array(
        [2.0, 1.99, 1.98, 1.97, 1.96, 1.95, 1.94, 1.93]
    )  # half of its fall is late, 4 % of what is left
    assert verdict(student(0, curve=creeping)) == "matched"
    assert verdict(student(0, curve=creeping), settings=DiagnosisConfig(pace=0.04)) == "undertrained"
    assert verdict(student(0, curve=creeping), settings=DiagnosisConfig(pace=0.05)) == "matched"


def test_a_curve_that_fell_late_and_stands_now_is_not_undertrained() -> None:
    stands = np.array([2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert verdict(student(0, curve=stands)) == "matched"


def test_two_epochs_are_enough_to_be_undertrained_and_one_says_nothing() -> None:
    assert verdict(student(0, curve=np.array([2.0, 1.0]))) == "undertrained"
    assert verdict(student(0, curve=np.array([2.0]))) == "matched"
    assert verdict(student(0, curve=np.array([]))) == "matched"
    assert verdict(student(0, curve=np.full(8, np.nan))) == "matched"


def test_stopped_trials_are_undertrained_and_failed_ones_have_no_verdict() -> None:
    rows = [
        student(0), student(1, status="stopped", gap=np.nan, epochs=3), student(2, status="failed", gap=np.nan),
    ]  # fmt: skip
    found = judge(*rows)
    assert set(found) == {0, 1}
    assert found[1].verdict == "undertrained"
    assert found[1].evidence == ("the scheduler stopped it after 3 of 8 epochs: others did better at no more cost",)


def test_the_same_architecture_under_another_loss_shows_a_mismatch_of_loss() -> None:
    bad = student(0, gap=9.0, spec_id="same", losses='{"rkd":{}}', train_agreement=0.3)
    good = student(1, gap=1.0, spec_id="same")
    found = judge(bad, good)
    assert found[0].verdict == "loss_mismatch"
    assert "+1.00 points under kd in trial 1" in found[0].evidence[0]
    assert "+9.00 under rkd" in found[0].evidence[0]
    assert found[1].verdict == "matched"
    # More epochs, another spec, the same recipe, or a difference within the images' interval show none.
    longer = judge(bad, {**good, "planned_epochs": 9})[0]
    assert longer.verdict == "matched"
    assert longer.passed_over[0].endswith("was not trained under another loss or recipe in no more epochs")
    assert verdict(bad, student(1, gap=1.0, spec_id="other", size=10_001)) == "under_capacity"
    assert verdict({**bad, "losses": good["losses"]}, good) == "matched"
    assert verdict({**bad, "gap_points": 3.0, "top1": 0.92}, good) == "under_capacity"


def test_differences_within_the_interval_of_the_images_count_as_none() -> None:
    bad, good = student(0, gap=4.0, spec_id="same", losses='{"rkd":{}}'), student(1, gap=1.0, spec_id="same")
    assert verdict(bad, good, images=100_000) == "loss_mismatch"
    assert verdict(bad, good, images=100) == "matched"


def test_another_family_that_does_better_at_its_size_shows_a_mismatch_of_architecture() -> None:
    blind = student(0, gap=20.0, family="vit", feature_cka=0.4, train_agreement=0.6)
    seeing = student(1, gap=1.0, size=12_000)
    found = judge(blind, seeing)[0]
    assert found.verdict == "architecture_mismatch"
    assert "CKA 0.40 against 0.80" in found.evidence[-1]
    # Larger than 1.25 times its size, of its own family, or with features no closer to the teacher's: no mismatch.
    assert verdict(blind, student(1, gap=1.0, size=12_501)) == "under_capacity"
    assert verdict(blind, student(1, gap=1.0, size=12_500)) == "architecture_mismatch"
    assert verdict(blind, student(1, gap=1.0, family="vit", size=12_000)) == "under_capacity"
    assert verdict(blind, student(1, gap=1.0, feature_cka=0.41)) == "under_capacity"


def test_without_features_the_mismatch_goes_by_gaps_and_says_so() -> None:
    found = judge(student(0, gap=20.0, family="vit", feature_cka=np.nan), student(1, gap=1.0))[0]
    assert found.verdict == "architecture_mismatch"
    assert "goes by gaps alone" in found.evidence[-1]


def test_a_sibling_that_does_as_well_clears_the_family() -> None:
    blind, seeing = student(0, gap=20.0, family="vit", feature_cka=0.4, train_agreement=0.6), student(1, gap=1.0)
    assert verdict(blind, seeing, student(2, gap=1.5, size=12_000, family="vit")) == "under_capacity"


def test_one_is_not_too_small_beside_a_smaller_sibling_that_does_better() -> None:
    large = student(0, gap=20.0, size=100_000, train_agreement=0.5)
    assert verdict(large, student(1, size=10_000)) == "over_capacity"
    assert verdict(large, student(1, size=90_000)) == "over_capacity"
    assert verdict(large, student(1, size=100_001)) == "under_capacity"
    assert verdict(large, student(1, size=10_000, assistant=7)) == "under_capacity"
    assert verdict(large, student(1, size=10_000, gap=19.0)) == "under_capacity"


def test_one_of_the_same_size_that_does_better_says_nothing_of_the_size() -> None:
    better = student(1, spec_id="same")
    for gap, fit in ((20.0, 0.5), (4.0, 0.97)):
        found = judge(student(0, gap=gap, spec_id="same", train_agreement=fit), better)[0]
        assert found.verdict == "matched"
        assert found.evidence[-1] == (
            "trial 1 (resnet, 10.0k parameters) has a gap of +1.00 points with as many parameters: it is not the size"
        )


def test_another_recipe_that_does_better_is_named_by_what_differs() -> None:
    recipes = [json.dumps({"losses": {"kd": {}}, "learning_rate": rate, "mix": "none"}) for rate in (1e-5, 1e-3)]
    slow = student(0, gap=20.0, spec_id="same", recipe=recipes[0], train_agreement=0.5)
    found = judge(slow, student(1, spec_id="same", recipe=recipes[1]))[0]
    assert found.verdict == "loss_mismatch"
    assert found.evidence[0] == (
        "the same architecture has a gap of +1.00 points under learning_rate 0.001 in trial 1 (resnet, 10.0k "
        "parameters), and +20.00 under learning_rate 1e-05"
    )
    assert len(found.evidence) == 2
    assert verdict(slow, student(1, spec_id="same", recipe=recipes[0])) == "matched"


def test_losses_of_the_same_name_are_told_apart_by_their_parameters() -> None:
    hot = student(0, gap=10.0, spec_id="same", losses='{"kd":{"temperature":20.0,"weight":1}}')
    found = judge(hot, student(1, spec_id="same", losses='{"kd":{"temperature":2.0,"weight":1}}'))[0]
    assert "+1.00 points under kd.temperature 2 in trial 1" in found.evidence[0]
    assert found.evidence[0].endswith("and +10.00 under kd.temperature 20")
    found = judge(hot, student(1, spec_id="same", losses='{"kd":{"weight":1}}'))[0]
    assert "under kd.temperature not set in trial 1" in found.evidence[0]


@pytest.mark.parametrize(("agreement", "expected"), [(0.899, "under_capacity"), (0.9, "over_capacity")])
def test_what_does_not_fit_on_training_images_is_too_small(agreement: float, expected: str) -> None:
    assert verdict(student(0, gap=15.0, train_agreement=agreement, agreement=0.7)) == expected


@pytest.mark.parametrize(("fit", "expected"), [(0.93, "under_capacity"), (0.94, "over_capacity")])
def test_one_that_is_behind_is_judged_by_where_more_of_the_teacher_is_lost(fit: float, expected: str) -> None:
    # 0.865 on validation: 0.07 lost on training images and 0.065 from there on, or 0.06 and 0.075.
    assert verdict(student(0, gap=12.0, train_agreement=fit, agreement=0.865)) == expected


@pytest.mark.parametrize(("gap", "expected"), [(5.0, "under_capacity"), (4.99, "matched")])
def test_small_gaps_are_not_explained_by_where_the_teacher_is_lost(gap: float, expected: str) -> None:
    assert verdict(student(0, gap=gap)) == expected
    assert verdict(student(0, gap=gap), settings=DiagnosisConfig(far_behind_points=9.0)) == "matched"


def test_one_that_is_level_with_the_teacher_is_not_too_small_whatever_it_agrees_on() -> None:
    assert verdict(student(0, gap=-1.0, train_agreement=0.8)) == "matched"
    assert verdict(student(0, gap=25.0, train_agreement=0.8), images=3) == "matched"


@pytest.mark.parametrize(("apart", "expected"), [(5.0, "over_capacity"), (4.99, "matched")])
def test_what_fits_and_does_not_generalise_is_too_large(apart: float, expected: str) -> None:
    assert verdict(student(0, generalisation_gap_points=apart)) == expected


def test_overfitting_within_the_images_interval_is_none() -> None:
    assert verdict(student(0, generalisation_gap_points=6.0), images=20) == "matched"


def test_a_smaller_student_as_good_makes_one_too_large() -> None:
    large, small = student(0, gap=1.0, size=10_000), student(1, gap=1.2, size=8_000)
    found = judge(large, small)
    assert found[0].verdict == "over_capacity"
    assert (
        found[0]
        .evidence[0]
        .startswith(
            "trial 1 (resnet, 8.00k parameters) is at least as good, as far as the images tell, with 80.0 % of its "
        )
    )
    assert found[1].verdict == "matched"
    assert verdict(large, {**small, "num_params": 8_001}) == "matched"
    assert verdict(large, student(1, gap=8.0, size=8_000)) == "matched"


def test_what_spoils_later_evidence_is_tested_first() -> None:
    spoilt = student(
        0, gap=30.0, spec_id="same", losses='{"rkd":{}}', family="vit", feature_cka=0.1, train_agreement=0.2,
        generalisation_gap_points=9.0, curve=FALLING,
    )  # fmt: skip
    rivals = student(1, spec_id="same", family="vit"), student(2), student(3, size=5_000)
    order = [verdict(spoilt, *rivals)]
    order.append(verdict(spoilt, *rivals[1:]))
    order.append(verdict({**spoilt, "curve": ENDED}, *rivals[1:]))
    order.append(verdict({**spoilt, "curve": ENDED, "family": "resnet", "gap_points": 2.0, "top1": 0.93}, *rivals[1:]))
    order.append(verdict({**spoilt, "curve": ENDED, "train_agreement": 0.95, "agreement": 0.8}))
    assert tuple(order) == VERDICTS[:-1]


def test_every_verdict_has_a_remedy_and_evidence_with_numbers() -> None:
    assert set(REMEDIES) == set(VERDICTS)
    for one in judge(student(0), student(1, curve=FALLING), student(2, train_agreement=0.1)).values():
        assert one.remedy == REMEDIES[one.verdict]
        assert any(character.isdigit() for character in one.evidence[0])
        assert Diagnosis.model_validate_json(one.model_dump_json()) == one


def test_nothing_is_judged_without_students() -> None:
    assert judge(student(0, status="failed", gap=np.nan)) == {}
    assert judge() == {}
    with pytest.raises(ValueError, match="0 validation images"):
        judge(student(0), images=0)


def test_missing_values_lead_to_no_verdict_that_rests_on_them() -> None:
    bare = student(
        0, train_agreement=np.nan, agreement=np.nan, generalisation_gap_points=np.nan, feature_cka=np.nan, curve=()
    )
    found = judge(bare)[0]
    assert found.verdict == "matched"
    assert "not measured" in found.evidence[0]
    assert "nan" not in " ".join(found.evidence)
    assert "under_capacity: not tested, its agreement on training images was not measured" in found.passed_over
    assert verdict({**bare, "gap_points": 30.0}) == "matched"


def test_a_little_smaller_one_that_is_clearly_better_makes_one_too_large_and_one_as_large_does_not() -> None:
    worse = student(0, gap=30.0, train_agreement=np.nan, agreement=0.97)
    assert verdict(worse, student(1, size=9_999)) == "over_capacity"
    assert verdict(worse, student(1)) == "matched"


def test_assistants_students_are_no_rivals_by_loss_or_family() -> None:
    own = student(0, gap=9.0, spec_id="same", losses='{"rkd":{}}', train_agreement=0.3)
    assert verdict(own, student(1, spec_id="same", assistant=7)) == "under_capacity"
    assert verdict({**own, "assistant": 7}, student(1, spec_id="same", assistant=7)) == "loss_mismatch"
    blind = student(0, gap=20.0, family="vit", feature_cka=0.4, train_agreement=0.6)
    assert verdict(blind, student(1, assistant=7)) == "under_capacity"


def test_what_else_differs_between_two_losses_is_said() -> None:
    recipes = [json.dumps({"losses": {}, "learning_rate": rate, "mix": "none"}) for rate in (0.1, 0.2)]
    bad = student(0, gap=9.0, spec_id="same", losses='{"rkd":{}}', recipe=recipes[0])
    assert judge(bad, student(1, spec_id="same", recipe=recipes[0]))[0].evidence[-1].startswith("the difference")
    found = judge(bad, student(1, spec_id="same", recipe=recipes[1]))[0]
    assert found.evidence[-1] == "their recipes differ in learning_rate, too: it need not be the loss alone"


def test_one_student_is_judged_as_among_all() -> None:
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
    everyone = judge(*rows)
    assert {one.verdict for one in everyone.values()} >= {"loss_mismatch", "under_capacity", "over_capacity"}
    for number in range(0, 60, 7):
        assert judge(*rows, number=number) == {number: everyone[number]}


def test_ten_thousand_students_are_judged_in_seconds() -> None:
    generator = np.random.default_rng(0)
    sizes, gaps = 10 ** generator.uniform(3, 6, 10_000), generator.uniform(0, 30, 10_000)
    rows = [
        student(number, gap=float(gap), size=int(size), losses=json.dumps({str(number % 3): {}}), curve=ENDED[:3])
        for number, (gap, size) in enumerate(zip(gaps, sizes, strict=True))
    ]
    trials = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    curves = pd.DataFrame({"number": np.arange(10_000), "epoch": 1, "divergence_nats": 1.0})
    started = time.process_time()
    assert len(diagnose(trials.astype(dict(COLUMNS)), curves, images=IMAGES)) == 10_000
    assert time.process_time() - started < 5.0
