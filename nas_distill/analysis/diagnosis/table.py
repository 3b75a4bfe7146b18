"""The decision table: one verdict per student with its evidence, from the records alone.

The rules are tested in the order of `rules.RULES`; the first that fires decides. A rule comes before those whose
evidence its cause would spoil. A wrong loss also spoils the learning curve; a student that was not trained to the end
shows nothing about its capacity; and a student of an unsuitable family cannot fit the teacher either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nas_distill.analysis.diagnosis.fit import NotTestedError
from nas_distill.analysis.diagnosis.rules import RULES, Finding, matched
from nas_distill.analysis.diagnosis.students import Students
from nas_distill.analysis.diagnosis.verdicts import Diagnosis, Verdict
from nas_distill.config import DiagnosisConfig
from nas_distill.records import TrialStatus


def diagnose(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    images: int,
    teacher_epochs: int | None = None,
    settings: DiagnosisConfig | None = None,
    number: int | None = None,
) -> tuple[Diagnosis, ...]:
    """Return the verdict on each student of a run, by trial number.

    A trial that the early-stopping rule stopped is undertrained. A failed trial has no verdict. A student that an
    assistant taught is compared by loss and family with the students of the same assistant, and by size with all.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        curves: Table of their learning curves.
        images: Number of validation images, at least 1. Differences too small for this sample count as none.
        teacher_epochs: Epochs that the teacher needed on the same images (`curves.epochs_needed`); None if unknown.
        settings: Thresholds. Default: the documented ones.
        number: Trial number of the only student to judge. Default: judge all.

    Raises:
        ValueError: `images` is below 1.
    """
    if images < 1:
        raise ValueError(f"images is {images}; at least 1 validation image is needed")
    settings = settings or DiagnosisConfig()
    known = trials["gap_points"].notna() & trials["num_params"].notna()
    complete = trials[(trials["status"] == TrialStatus.COMPLETE) & known]
    stopped = trials[trials["status"] == TrialStatus.STOPPED]
    if number is not None:
        stopped, curves = stopped[stopped["number"] == number], curves[curves["number"] == number]
    students = Students.of(complete, curves, images, teacher_epochs)
    indices = range(len(complete)) if number is None else np.flatnonzero(students.numbers == number).tolist()
    found = [_judge(students, index, settings) for index in indices]
    found += [_stopped(row) for row in stopped.to_dict("records")]
    return tuple(sorted(found, key=lambda one: one.number))


def _judge(students: Students, index: int, settings: DiagnosisConfig) -> Diagnosis:
    earlier: list[str] = []
    for name, verdict, rule in RULES:
        try:
            found = rule(students, index, settings)
        except NotTestedError as reason:
            earlier.append(f"{name}: not tested, {reason}")
            continue
        if found is not None:
            return _diagnosis(students, index, verdict, found, earlier)
        earlier.append(name)
    return _diagnosis(students, index, "matched", matched(students, index), earlier)


def _diagnosis(students: Students, index: int, verdict: Verdict, found: Finding, earlier: list[str]) -> Diagnosis:
    return Diagnosis(
        number=int(students.numbers[index]),
        verdict=verdict,
        evidence=found.evidence,
        rival=None if found.rival is None else int(students.numbers[found.rival]),
        earlier_rules=tuple(earlier),
    )


def _stopped(row: Mapping[Any, Any]) -> Diagnosis:
    epochs = f"after {row['epochs']} of {row['planned_epochs']} epochs"
    return Diagnosis(
        number=int(row["number"]),
        verdict="undertrained",
        evidence=(f"the scheduler stopped it {epochs}: others were better at no more cost",),
    )
