"""The decision table: from records alone, one verdict per student, each with its evidence.

The rules are tested in the order of `verdicts.VERDICTS`; the first that fires is the verdict. What would spoil another
rule's evidence comes first: under a bad loss even the curve says nothing, a student that is not trained to the end says
nothing of its capacity, and one of a wrong family cannot fit the teacher either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nas_distill.analysis.diagnosis.rules import RULES, Evidence, NotTestedError, matched
from nas_distill.analysis.diagnosis.verdicts import REMEDIES, VERDICTS, Diagnosis, Verdict
from nas_distill.analysis.trials.students import Students
from nas_distill.config import DiagnosisConfig
from nas_distill.records import TrialStatus


def diagnose(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    images: int,
    settings: DiagnosisConfig | None = None,
    number: int | None = None,
) -> tuple[Diagnosis, ...]:
    """Returns the verdicts on the students of a run, by trial number.

    Trials that the scheduler stopped are undertrained by its decision; failed ones have no verdict. Students that an
    assistant taught are compared by loss and family with those that the same assistant taught, and by size with all.

    Args:
        trials: Table as `frame.load_frame` returns it.
        curves: Table of their curves.
        images: Validation images, at least 1: what they cannot tell apart counts as equal.
        settings: Thresholds; the documented ones by default.
        number: Of the trial that is judged; all by default.

    Raises:
        ValueError: `images` is below 1.
    """
    if images < 1:
        raise ValueError(f"{images} validation images tell nothing")
    settings = settings or DiagnosisConfig()
    known = trials["gap_points"].notna() & trials["num_params"].notna()
    complete = trials[(trials["status"] == TrialStatus.COMPLETE) & known]
    stopped = trials[trials["status"] == TrialStatus.STOPPED]
    if number is not None:
        stopped, curves = stopped[stopped["number"] == number], curves[curves["number"] == number]
    students = Students.of(complete, curves, images)
    places = range(len(complete)) if number is None else np.flatnonzero(students.numbers == number).tolist()
    found = [_judge(students, place, settings) for place in places]
    found += [_stopped(row) for row in stopped.to_dict("records")]
    return tuple(sorted(found, key=lambda one: one.number))


def _judge(students: Students, place: int, settings: DiagnosisConfig) -> Diagnosis:
    passed: list[str] = []
    for verdict in VERDICTS[:-1]:
        try:
            evidence = RULES[verdict](students, place, settings)
        except NotTestedError as reason:
            passed.append(f"{verdict}: not tested, {reason}")
            continue
        if evidence is not None:
            return _diagnosis(students, place, verdict, evidence, passed)
        passed.append(verdict)
    return _diagnosis(students, place, "matched", matched(students, place), passed)


def _diagnosis(students: Students, place: int, verdict: Verdict, evidence: Evidence, passed: list[str]) -> Diagnosis:
    return Diagnosis(
        number=int(students.numbers[place]),
        verdict=verdict,
        evidence=evidence,
        remedy=REMEDIES[verdict],
        passed_over=tuple(passed),
    )


def _stopped(row: Mapping[Any, Any]) -> Diagnosis:
    epochs = f"after {row['epochs']} of {row['planned_epochs']} epochs"
    return Diagnosis(
        number=int(row["number"]),
        verdict="undertrained",
        evidence=(f"the scheduler stopped it {epochs}: others did better at no more cost",),
        remedy="none, unless you doubt the rule that stopped it (--asha none)",
    )
