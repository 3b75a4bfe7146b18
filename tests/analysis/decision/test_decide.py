"""The decision of a run, on 200 synthetic runs without files: nothing in it contradicts anything else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from nas_distill.analysis.confirm.students import ConfirmedStudent, SelectionBias
from nas_distill.analysis.decision.decide import decide
from nas_distill.analysis.decision.records import Decision, StudentVerdict
from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.stats import Estimate
from nas_distill.analysis.trials.columns import COLUMNS, CURVE_VALUES
from nas_distill.analysis.trials.study_reader import StudySnapshot
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost
from tests.report.factory import make_teacher

RUN = "runs/some digits"
OBJECTIVES = (("gap_points", "num_params"), ("gap_points", "macs"), ("divergence_nats", "macs", "agreement"))
STATES = ["complete"] * 6 + ["stopped", "failed"]


def student(number: int, *, gap: float = 1.0, size: int = 10_000, **changes: Any) -> dict[str, Any]:
    return {
        "number": number, "status": "complete", "spec_id": f"spec{number}", "family": "resnet",
        "architecture": "small_resnet", "num_params": size, "macs": 30 * size, "gap_points": gap,
        "top1": 0.98 - gap / 100.0, "agreement": 0.99 - abs(gap) / 100.0, "divergence_nats": 0.01 + abs(gap) / 40.0,
        "train_agreement": 0.97, "train_divergence_nats": 0.05, "generalisation_gap_points": 1.0, "feature_cka": 0.8,
        "capacity_ratio": size / 1_240_000, "losses": '{"kd":{}}', "epochs": 8, "planned_epochs": 8, **changes,
    }  # fmt: skip


def study_of(rows: list[dict[str, Any]], objectives: tuple[str, ...] = OBJECTIVES[0]) -> StudySnapshot:
    trials = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    curves = [
        {"number": row["number"], "epoch": epoch, **dict.fromkeys(CURVE_VALUES, value)}
        for row in rows
        for epoch, value in enumerate(row.get("curve", (2.0, 1.0, 0.4, 0.21, 0.2, 0.2, 0.2, 0.2)), 1)
    ]
    return StudySnapshot(
        trials=trials.astype(dict(COLUMNS)),
        curves=pd.DataFrame(curves, columns=["number", "epoch", *CURVE_VALUES]),
        objectives=check_objectives(objectives),
        teacher=make_teacher(),
        rejections=(),
        running=0,
    )


def confirmed(number: int, gap: float, half: float, *, seeds: int = 5) -> ConfirmedStudent:
    known: dict[str, Any] = {
        "number": number, "cost": Cost(num_params=1, macs=1, size_bytes=1), "in_folds": False, "repetitions": seeds,
        "top1": Estimate(mean=0.98 - gap / 100.0, half_width=half / 100.0),
        "gap_points": Estimate(mean=gap, half_width=half), "initial_weights": "random", "classes": (), "failures": (),
        "bias": SelectionBias(search_gap_points=None, total=None, selection=None, split=None),
    }  # fmt: skip
    values: dict[str, Any] = {one.name: known.get(one.name) for one in fields(ConfirmedStudent)}
    return ConfirmedStudent(**values)


def decided(study: StudySnapshot, *, tolerance: float = 1.0, repeated: tuple[ConfirmedStudent, ...] = ()) -> Decision:
    front = pareto_front(study.trials, study.objectives, study.teacher)
    return decide(study, front, gap_tolerance_points=tolerance, run=RUN, confirmed=repeated)


def synthetic(seed: int) -> tuple[StudySnapshot, float, tuple[ConfirmedStudent, ...]]:
    """Return a random run: families, recipes, repeated architectures, stopped trials, overfitting, confirmed picks."""
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(int(generator.integers(1, 30))):
        size = int(10 ** generator.uniform(3, 5.5))
        if rows and generator.random() < 0.3:
            size = rows[int(generator.integers(len(rows)))]["num_params"]
        gap = max(-2.0, round(25.0 * (size / 1000) ** -0.6 + generator.normal(0.0, 2.0), 1))
        status, curve = str(generator.choice(STATES)), np.sort(generator.uniform(0.05, 2.0, 8))[::-1]
        rows.append(
            student(
                number, gap=gap if status == "complete" else np.nan, size=size, status=status, curve=curve,
                family=str(generator.choice(["resnet", "vit"])), spec_id=f"spec{size}",
                losses=str(generator.choice(['{"kd":{}}', '{"rkd":{}}'])),
                train_agreement=float(generator.uniform(0.7, 1.0)), agreement=float(generator.uniform(0.6, 1.0)),
                feature_cka=float(generator.uniform(0.2, 0.9)), divergence_nats=float(generator.uniform(0.0, 1.0)),
                generalisation_gap_points=float(generator.normal(1.0, 3.0)),
            )
        )  # fmt: skip
    known = [row for row in rows if row["status"] == "complete"]
    chosen = [row for row in known if generator.random() < 0.2]
    repeated = tuple(
        confirmed(row["number"], row["gap_points"] + generator.normal(0.5, 1.0), float(generator.uniform(0.1, 3.0)))
        for row in chosen
    )
    study = study_of(rows, OBJECTIVES[seed % len(OBJECTIVES)])
    return study, float(generator.choice([0.0, 1.0, 3.0])), repeated


def best_gap(study: StudySnapshot, repeated: tuple[ConfirmedStudent, ...]) -> dict[int, float]:
    """Return the confirmed gap of each student where there is one, else the search's."""
    known = study.trials.dropna(subset=["gap_points"])
    gaps = dict(zip(known["number"].astype(int), known["gap_points"].astype(float), strict=True))
    return gaps | {one.number: one.gap_points.mean for one in repeated if one.gap_points is not None}


def followed(decision: Decision, number: int) -> list[int]:
    """Return the students to which the remedies lead from one."""
    chain = [number]
    while (verdict := decision.verdict_on(chain[-1])) is not None and verdict.remedy.action == "take_other":
        chain.append(verdict.remedy.trials[0])
        assert len(set(chain)) == len(chain), f"the remedies lead in a circle: {chain}"
    return chain


def test_no_recommendation_of_200_runs_contradicts_another() -> None:
    actions = set()
    for seed in range(200):
        study, tolerance, repeated = synthetic(seed)
        decision = decided(study, tolerance=tolerance, repeated=repeated)
        headline, gaps = decision.headline, best_gap(study, repeated)
        for one in decision.verdicts:
            actions.add(one.remedy.action)
            chain = followed(decision, one.number)
            if one.number in gaps and gaps[one.number] <= tolerance:
                assert all(gaps[number] <= tolerance for number in chain)
            assert (one.remedy.action == "take") == (one.number == headline.number)
            if one.verdict == "undecided":
                _never_recommends_a_smaller_student(one, headline.number, gaps)
        for pick in decision.picks:
            if pick.number is not None:
                assert followed(decision, pick.number)[-1] in {pick.number, headline.number}
        if headline.number is not None:
            assert gaps[headline.number] <= tolerance
            assert f"Take trial {headline.number}:" in headline.sentence
        elif headline.closest is not None:
            own = decision.verdict_on(headline.closest)
            assert own is not None
            assert headline.command == own.remedy.command
            assert own.remedy.sentence in headline.sentence
    assert actions == {"take", "take_other", "confirm", "train_longer", "change", "keep"}


def _never_recommends_a_smaller_student(one: StudentVerdict, taken: int | None, gaps: dict[int, float]) -> None:
    if one.remedy.action == "take_other":  # only if confirmed scores put it behind the headline's student
        assert one.remedy.trials == (taken,)
        assert one.number in gaps
    else:
        assert one.remedy.action in {"take", "confirm", "train_longer", "keep"}


def test_the_headline_takes_the_smallest_student_within_the_tolerance_and_says_how_to_confirm_it() -> None:
    decision = decided(
        study_of([student(3, gap=0.8), student(5, gap=-0.2, size=90_000), student(7, gap=9.0, size=500)])
    )
    headline = decision.headline
    assert (headline.number, headline.standing, headline.seeds) == (3, "undecided", 1)
    assert headline.command == "python -m nas_distill confirm 'runs/some digits' --picks 3"
    assert headline.gap_half_width_points is not None
    assert f"0.8 \N{PLUS-MINUS SIGN} {headline.gap_half_width_points:.1f} points" in headline.sentence
    assert decision.picks[0].gap_half_width_points == headline.gap_half_width_points


def test_a_student_that_the_images_cannot_tell_from_a_smaller_one_is_to_be_confirmed_with_it() -> None:
    decision = decided(study_of([student(0, gap=1.5, size=4_000), student(1, gap=0.5)]))
    own = decision.verdict_on(1)
    assert own is not None
    assert (own.verdict, own.remedy.action, own.remedy.trials) == ("undecided", "take", (1, 0))
    assert "288 images cannot resolve" in own.remedy.sentence
    assert own.remedy.command == "python -m nas_distill confirm 'runs/some digits' --picks 1,0"


def test_a_dominating_student_is_recommended() -> None:
    decision = decided(study_of([student(0, gap=0.5, size=4_000), student(1, gap=0.9)]))
    own = decision.verdict_on(1)
    assert own is not None
    assert (own.verdict, own.remedy.action, own.remedy.trials) == ("over_capacity", "take_other", (0,))


def test_a_smaller_student_that_is_behind_in_another_objective_is_not_recommended() -> None:
    rows = [student(0, gap=0.5, size=4_000, macs=10**7), student(1, gap=0.9, macs=10**5)]
    own = decided(study_of(rows, ("gap_points", "macs"))).verdict_on(1)
    assert own is not None
    assert (own.verdict, own.rival) == ("over_capacity", 0)
    assert own.remedy.action != "take_other"


def test_confirmed_scores_move_the_headline() -> None:
    rows = [student(0, gap=0.9, size=4_000), student(1, gap=0.5), student(2, gap=-0.5, size=50_000)]
    study = study_of(rows)
    assert decided(study).headline.number == 0
    outside = decided(study, repeated=(confirmed(0, 2.9, 0.5),))
    assert outside.headline.number == 1
    assert "Trial 0 is cheaper, but 2.9" in outside.headline.sentence
    assert outside.picks[0].number == 0  # the picks are the search's, so that `confirm` can be continued
    assert followed(outside, 0) == [0, 1]
    crossing = (confirmed(0, 0.9, 0.5),)
    assert decided(study, repeated=crossing).headline.number == 0
    assert decided(study, repeated=crossing).headline.command == (
        "python -m nas_distill confirm 'runs/some digits' --picks 0 --seeds 10"
    )
    certain = decided(study, repeated=(*crossing, confirmed(2, -0.4, 0.3)))
    assert (certain.headline.number, certain.headline.standing) == (2, "established")
    assert certain.headline.command is None
    assert certain.headline.sentence.count("Confirmed.") == 1
    unconfirmed_first = decided(study, repeated=(confirmed(2, -0.4, 0.3),))
    assert unconfirmed_first.headline.number == 0
    assert "trial 2" in unconfirmed_first.headline.sentence


def test_two_seeds_that_scatter_widely_decide_nothing() -> None:
    found = decided(study_of([student(0, gap=0.5)]), repeated=(confirmed(0, 0.8, 24.0, seeds=2),))
    assert (found.headline.number, found.headline.standing, found.headline.seeds) == (0, "undecided", 2)


def test_a_run_without_students_decides_nothing() -> None:
    found = decided(study_of([student(0, status="failed", gap=np.nan)]))
    assert (found.headline.number, found.headline.command, found.verdicts) == (None, None, ())
    assert Decision.model_validate_json(found.model_dump_json()) == found
