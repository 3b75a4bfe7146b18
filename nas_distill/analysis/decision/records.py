"""`Decision`: the student to take, the picks, and verdict and remedy of every student."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from nas_distill.analysis.diagnosis.verdicts import Diagnosis
from nas_distill.analysis.front.picks import Pick
from nas_distill.records.base import Record

Standing = Literal["established", "undecided", "missed"]
"""Where the 95 % interval of a gap lies: within the tolerance, across it, or outside."""

Action = Literal["take", "take_other", "confirm", "train_longer", "change", "keep"]
"""What to do about a student.

"take": it is the student of the headline. "take_other": another student of this run is better in every respect, or this
one was confirmed to be outside the tolerance. "confirm": the images cannot decide. "train_longer" and "change": train
again, for more epochs or as the sentence says. "keep": nothing.
"""


class Remedy(Record):
    """What to do about one student.

    Attributes:
        action: Kind of the remedy.
        sentence: The remedy in words, without a full stop.
        trials: Trial numbers of the students that it is about: the one to take, or those to confirm.
        command: Command that does it; None if there is none.
    """

    action: Action
    sentence: str
    trials: tuple[NonNegativeInt, ...] = ()
    command: str | None = None


class StudentVerdict(Diagnosis):
    """The verdict on one student and what follows from it.

    Attributes:
        remedy: What to do.
    """

    remedy: Remedy


class Headline(Record):
    """The recommendation of a run.

    Attributes:
        number: Trial number of the student to take; None if no student is within the tolerance.
        sentence: The recommendation in words.
        command: Command of the next step; None if there is none.
        closest: Trial number of the student with the smallest gap on the front, if no student is within the tolerance.
        gap_points: Gap of that student, percentage points; None without students.
        gap_half_width_points: Half of the 95 % interval of the gap, percentage points.
        standing: Where the interval lies relative to the tolerance; None without students.
        seeds: Number of seeds behind the gap: 1 for the search's own score.
    """

    number: NonNegativeInt | None
    sentence: str
    command: str | None = None
    closest: NonNegativeInt | None = None
    gap_points: float | None = None
    gap_half_width_points: NonNegativeFloat | None = None
    standing: Standing | None = None
    seeds: NonNegativeInt = 0


class Decision(Record):
    """All recommendations of a run. No two contradict each other.

    Attributes:
        gap_tolerance_points: Largest acceptable gap to the teacher, percentage points; may be negative.
        images: Number of validation images.
        headline: The student to take.
        picks: The student of each rule, by the search's scores.
        verdicts: Verdict and remedy of each student, by trial number.
    """

    gap_tolerance_points: float
    images: PositiveInt
    headline: Headline
    picks: tuple[Pick, ...]
    verdicts: tuple[StudentVerdict, ...]

    def verdict_on(self, number: int) -> StudentVerdict | None:
        """Return the verdict on a trial; None if it has none."""
        return next((one for one in self.verdicts if one.number == number), None)
