"""`Diagnosis`: why a student stands where it does, what led to that verdict, and what to try."""

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
"""In the order in which their rules are tested; the first that fires is the verdict."""

REMEDIES: dict[Verdict, str] = {
    "undertrained": "train it longer (--epochs), or with a higher learning rate",
    "loss_mismatch": "take the other loss or recipe, or let the search choose it (--recipe search)",
    "architecture_mismatch": "take another family of about this size",
    "under_capacity": "go wider or deeper; at this size, let an assistant teach (--assistants 1)",
    "over_capacity": "take the smaller student, or regularise: weight decay, dropout, drop-path, mixup, early stopping",
    "matched": "nothing about its size: as far as these images tell, none of the run does better with fewer parameters",
}


class Diagnosis(Record):
    """One student's verdict.

    Attributes:
        number: Trial number.
        verdict: See docs/diagnosis.md.
        evidence: Sentences with the measured values and the thresholds that led to it.
        remedy: What to try.
        passed_over: Rules that come before it and did not fire; of those that could not be tested, with the reason.
    """

    number: NonNegativeInt
    verdict: Verdict
    evidence: tuple[str, ...]
    remedy: str
    passed_over: tuple[str, ...] = ()
