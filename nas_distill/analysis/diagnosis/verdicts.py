"""`Diagnosis`: the verdict on one student and the evidence for it."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt

from nas_distill.records.base import Record

Verdict = Literal[
    "undertrained",
    "loss_mismatch",
    "architecture_mismatch",
    "under_capacity",
    "over_capacity",
    "miscalibrated",
    "undecided",
    "matched",
]

VERDICTS: tuple[Verdict, ...] = (
    "loss_mismatch", "architecture_mismatch", "undertrained", "under_capacity", "over_capacity", "miscalibrated",
    "undecided", "matched",
)  # fmt: skip
"""All verdicts, in the order of their rules (`rules.RULES`)."""


class Diagnosis(Record):
    """The verdict on one student.

    Attributes:
        number: Trial number.
        verdict: Cause of the student's gap; docs/explanation/diagnosis.md defines each.
        evidence: Sentences with the measured values and thresholds that led to the verdict.
        rival: Trial number of the student that the evidence compares with; None if it compares with none.
        earlier_rules: Names (`rules.RULES`) of the rules that were tested before and did not fire, in order. A rule
            that could not be tested is followed by its reason: "loss_mismatch: not tested, its architecture was ...".
    """

    number: NonNegativeInt
    verdict: Verdict
    evidence: tuple[str, ...]
    rival: NonNegativeInt | None = None
    earlier_rules: tuple[str, ...] = ()
