"""Teacher assistants: students of intermediate size that teach smaller ones."""

from __future__ import annotations

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from nas_distill.records.base import Record


class AssistantsConfig(Record):
    """Teacher assistants: students that teach smaller ones after the search (Mirzadeh et al. 2020, arXiv 1902.03393).

    Attributes:
        count: Largest number of assistants; each is smaller than the one before. None is chosen if no gap is large.
        min_gap_points: Smallest gap that counts as large, percentage points; it must also differ from 0 by more than
            the validation images can leave to chance. Default: `picks.gap_tolerance_points`.
        students: Largest number of students that each assistant teaches: those with the largest gaps.
    """

    count: NonNegativeInt = 0
    min_gap_points: NonNegativeFloat | None = None
    students: PositiveInt = 3
