"""The decision table: from records alone, one verdict per student, each with its evidence.

The rules are tested in the order of `verdicts.VERDICTS`; the first that fires is the verdict. What would spoil another
rule's evidence comes first: under a bad loss even the curve says nothing, a student that is not trained to the end says
nothing of its capacity, and one of a wrong family cannot fit the teacher either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nas_distill.analysis.diagnosis_rules import RULES, Evidence, matched
from nas_distill.analysis.students import Students
from nas_distill.analysis.verdicts import REMEDIES, VERDICTS, Diagnosis, Verdict
from nas_distill.config import DiagnosisConfig
from nas_distill.records import TrialStatus


def diagnose(
    trials: pd.DataFrame, curves: pd.DataFrame, *, images: int, settings: DiagnosisConfig | None = None
) -> tuple[Diagnosis, ...]:
    """Returns the verdicts on the students of a run, by trial number.

    Trials that the scheduler stopped are undertrained; failed ones have no verdict. Students that an assistant taught
    are judged like any other, and compared with them.

    Args:
        trials: Table as `frame.load_frame` returns it.
        curves: Table of their curves.
        images: Validation images, at least 1: what they cannot tell apart counts as equal.
        settings: Thresholds; the documented ones by default.

    Raises:
        ValueError: `images` is below 1.
    """
    if images < 1:
        raise ValueError(f"{images} validation images tell nothing")
    settings = settings or DiagnosisConfig()
    complete = trials[(trials["status"] == TrialStatus.COMPLETE) & trials["gap_points"].notna()]
    students = Students.of(complete, curves, images)
    found = [_judge(students, place, settings) for place in range(len(complete))]
    found += [_stopped(row) for row in trials[trials["status"] == TrialStatus.STOPPED].to_dict("records")]
    return tuple(sorted(found, key=lambda one: one.number))


def _judge(students: Students, place: int, settings: DiagnosisConfig) -> Diagnosis:
    passed: list[str] = []
    for verdict in VERDICTS[:-1]:
        evidence = RULES[verdict](students, place, settings)
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
