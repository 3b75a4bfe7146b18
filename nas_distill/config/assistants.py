"""Students of intermediate size that teach smaller ones."""

from __future__ import annotations

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from nas_distill.records.base import Record


class AssistantsConfig(Record):
    """Students that teach smaller ones after the search: teacher assistants (Mirzadeh et al. 2020, arXiv 1902.03393).

    Attributes:
        count: Assistants at most, each smaller than the one before it; none is chosen where no gap is large.
        min_gap_points: A gap above this is large, if the validation images are enough to tell it from none; by default
            `picks.gap_tolerance_points`. Percentage points.
        students: Students that each assistant teaches at most, those with the largest gaps.
    """

    count: NonNegativeInt = 0
    min_gap_points: NonNegativeFloat | None = None
    students: PositiveInt = 3
