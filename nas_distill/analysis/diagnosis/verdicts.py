"""`Diagnosis`: the verdict on one student, the evidence for it, and what to try."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt

from nas_distill.records.base import Record

Verdict = Literal[
    "undertrained", "loss_mismatch", "architecture_mismatch", "under_capacity", "over_capacity", "matched"
]

VERDICTS: tuple[Verdict, ...] = (
    "loss_mismatch", "undertrained", "architecture_mismatch", "under_capacity", "over_capacity", "matched",
)  # fmt: skip
"""Verdicts in the order in which their rules are tested. The first rule that fires decides."""

REMEDIES: dict[Verdict, str] = {
    "undertrained": "train it longer (--epochs) or with a higher learning rate",
    "loss_mismatch": "use the other loss or recipe, or let the search choose it (--recipe search)",
    "architecture_mismatch": "use another family of about this size",
    "under_capacity": "make it wider or deeper; to keep the size, use a teacher assistant (--assistants 1)",
    "over_capacity": (
        "use the smaller student, or regularise: weight decay, dropout, drop-path, mixup, early stopping"
    ),
    "matched": "keep its size: no student of this run is clearly better with fewer parameters",
}


class Diagnosis(Record):
    """The verdict on one student.

    Attributes:
        number: Trial number.
        verdict: Cause of the student's gap; docs/explanation/diagnosis.md defines each.
        evidence: Sentences with the measured values and thresholds that led to the verdict.
        remedy: What to try.
        earlier_rules: Names of the rules that were tested before and did not fire, in order. A rule that could not be
            tested is followed by its reason: "loss_mismatch: not tested, its architecture was ...".
    """

    number: NonNegativeInt
    verdict: Verdict
    evidence: tuple[str, ...]
    remedy: str
    earlier_rules: tuple[str, ...] = ()
