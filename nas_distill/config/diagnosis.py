"""Thresholds of the diagnosis of students."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from nas_distill.records.base import Record, Share


class DiagnosisConfig(Record):
    """Thresholds of the diagnosis: when a student counts as undertrained, too small, too large or mismatched.

    Attributes:
        late_gain: Undertrained if the gap fell in the second half of the epochs by at least this share of the gap that
            is left, above 0.
        train_agreement: Under capacity if the agreement with the teacher on training images is below this, 0 to 1.
        begun_agreement: Undecided instead of under capacity if that agreement is below this, 0 to 1: the student has
            only begun to fit, and may need more epochs.
        generalisation_gap_points: Over capacity if a student fits its training images and its top-1 accuracy there
            exceeds that on validation by at least this, percentage points.
        far_behind_points: Gap, percentage points, above which a student that no other rule explains is still called too
            small or too large: too small if more agreement is lost on training images, too large if more is lost
            between training and validation.
        smaller_size: Over capacity if a student with at most this share of the parameters is as good; between 0 and 1.
        similar_size: Factor between the parameters of two students up to which they count as equally large, at
            least 1.
        feature_cka_margin: Architecture mismatch if the student's features resemble the teacher's by at least this much
            less (linear CKA, 0 to 1) than those of a better student of similar size.
    """

    late_gain: PositiveFloat = 0.25
    train_agreement: Share = 0.9
    begun_agreement: Share = 0.5
    generalisation_gap_points: PositiveFloat = 5.0
    far_behind_points: PositiveFloat = 5.0
    smaller_size: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    similar_size: Annotated[float, Field(ge=1.0)] = 1.25
    feature_cka_margin: Share = 0.02
