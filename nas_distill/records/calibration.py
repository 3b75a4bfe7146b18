"""`Calibration`: how the probabilities of a trained student were calibrated."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from nas_distill.records.base import Record, Share


class Calibration(Record):
    """How the probabilities of a trained student were calibrated (`train.calibration`).

    The logits are divided by one temperature. It is fitted on the validation images, which the student was not trained
    on. A student that is scored on these images is scored with cross-fitting: the temperature for the images of a part
    is fitted on the other parts.

    Attributes:
        temperature: Temperature that is fitted on all images, above 0; 1 if no temperature lowered the
            cross-validated negative log-likelihood.
        images: Number of validation images that it was fitted on.
        parts: Number of parts for cross-fitting; 1 if the student is scored on other images (test images, or a fold
            of the training images).
        in_weights: Whether the classifier in the saved weights is divided by the temperature. If not, the user has to
            divide the logits.
        uncalibrated_nll_nats: Mean negative log-likelihood of the labels before calibration, nats, on the images of
            `StudentMetrics.nll_nats`.
        uncalibrated_ece: Expected calibration error before calibration, 0 to 1, on the same images.
    """

    temperature: PositiveFloat
    images: PositiveInt
    parts: PositiveInt
    in_weights: bool
    uncalibrated_nll_nats: NonNegativeFloat
    uncalibrated_ece: Share
