"""When a student counts as undertrained, too small, too large or mismatched."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from nas_distill.records.base import Record, Share


class DiagnosisConfig(Record):
    """Thresholds of the decision table (docs/diagnosis.md).

    Attributes:
        late_progress: Undertrained: share of the whole fall of the divergence that came in the last half of the epochs,
            from which on the curve still falls.
        pace: Undertrained, too: share of what is left of the divergence that as many epochs again would take off at the
            slope of the curve's tail.
        train_agreement: Under-capacity: agreement with the teacher on training images below which a student does not
            fit it.
        generalisation_gap_points: Over-capacity: top-1 on training images above that on validation, percentage points,
            from which on a student that fits does not generalise.
        far_behind_points: Capacity: a student with a gap of so many points that no other rule explains is too small
            where more agreement with the teacher is lost on training images, too large where more is lost from there to
            validation.
        smaller_size: Over-capacity: a student of at most this share of the parameters that is as good makes one too
            large.
        similar_size: Mismatch of architecture: students with at most so many times the parameters are of its size.
        feature_cka_margin: Mismatch of architecture: by so much less must its features resemble the teacher's than the
            better student's do.
    """

    late_progress: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    pace: Annotated[float, Field(ge=0.0)] = 0.25
    train_agreement: Share = 0.9
    generalisation_gap_points: PositiveFloat = 5.0
    far_behind_points: PositiveFloat = 5.0
    smaller_size: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    similar_size: Annotated[float, Field(ge=1.0)] = 1.25
    feature_cka_margin: Share = 0.02
