"""Calibrate a trained student and measure it."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.records import Calibration, StudentMetrics
from nas_distill.train.calibration.network import calibrate
from nas_distill.train.calibration.temperature import PARTS
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import MetricSums, class_gaps, gap_points
from nas_distill.trial.context import TrialInputs


class TrainedStudent:
    """A student after its last epoch, calibrated on the validation images.

    A search scores students on the validation images too; there each image is scored with a temperature that was not
    fitted on it. Test images and folds are scored with the temperature in the weights.

    Args:
        trainer: Trainer of the student, which has finished.
        inputs: Data and teacher outputs of the trial.
        device: Device of the student.

    Attributes:
        network: The student, calibrated.
    """

    def __init__(self, trainer: Trainer, inputs: TrialInputs, *, device: torch.device) -> None:
        self._evaluator = trainer.evaluator
        self._layout = trainer.memory_format
        self._inputs = inputs
        self.network = trainer.finish()
        self._calibrated = calibrate(
            self.network,
            self._evaluator.logits(self.network, self._layout),
            inputs.validation,
            preprocess=inputs.data.preprocess,
            device=device,
        )

    def metrics(self, *, capacity_ratio: float) -> StudentMetrics:
        """Measure the student on the images that the trial is scored on, and on training images.

        Args:
            capacity_ratio: Parameters of the student / parameters of the teacher.
        """
        final = self._inputs.final
        teacher = self._inputs.reference.teacher if final is None else final.teacher
        found, feature_cka = self._scored(self._calibrating)
        uncalibrated, _ = self._scored(self._calibrated.undoing)
        on_subset = self._evaluator.training_subset(self.network, self._layout, factor=self._calibrated.completing)
        student, comparison = found.metrics(), found.comparison()
        subset, subset_comparison = on_subset.metrics(), on_subset.comparison()
        return StudentMetrics(
            top1=student.top1,
            nll_nats=student.nll_nats,
            gap_points=gap_points(teacher.top1, student.top1),
            agreement=comparison.agreement,
            divergence_nats=comparison.divergence_nats,
            train_top1=subset.top1,
            train_agreement=subset_comparison.agreement,
            train_divergence_nats=subset_comparison.divergence_nats,
            generalisation_gap_points=gap_points(subset.top1, student.top1),
            capacity_ratio=capacity_ratio,
            class_gap_points=class_gaps(teacher, student),
            class_counts=student.class_counts,
            ece=student.ece,
            ece_noise=student.ece_noise,
            calibration=self._calibration(uncalibrated),
            feature_cka=feature_cka,
        )

    def _scored(self, factor: Tensor | float) -> tuple[MetricSums, float | None]:
        """Return the sums over the scored images, and the similarity of the features to the teacher's.

        Args:
            factor: Factor on the logits of the network, or one for each scored image, float64 [N].
        """
        final = self._inputs.final
        if final is None:
            return self._evaluator.validation_and_features(self.network, self._layout, factor=factor)
        return self._evaluator.split(self.network, self._layout, final.split, final.logits, factor=factor), None

    @property
    def _calibrating(self) -> Tensor | float:
        """The factor on the logits of the network that calibrates them on the scored images."""
        if self._is_cross_fitted:
            return self._calibrated.cross_fitting(self._inputs.validation.num_images)
        return self._calibrated.completing

    @property
    def _is_cross_fitted(self) -> bool:
        """Whether the student is scored on the images that its temperature is fitted on."""
        return self._inputs.final is None and self._inputs.data.validation is self._inputs.validation

    def _calibration(self, uncalibrated: MetricSums) -> Calibration:
        before, temperatures = uncalibrated.metrics(), self._calibrated.temperatures
        return Calibration(
            temperature=temperatures.final,
            images=temperatures.images,
            parts=PARTS if self._is_cross_fitted else 1,
            in_weights=self._calibrated.in_weights,
            uncalibrated_nll_nats=before.nll_nats,
            uncalibrated_ece=before.ece,
        )
