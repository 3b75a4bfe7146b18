"""The record of a teacher."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from nas_distill.records.base import Record, Share
from nas_distill.records.cost import Cost
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.trial import EpochMetrics


class TeacherLink(Record):
    """One network of the lineage of a teacher that was a student in another run.

    Attributes:
        run: Name of the run in which the network was teacher or student.
        trial: Number of the trial whose student the network is; None for the run's teacher.
        architecture: timm name of the network.
        num_params: Number of parameters.
        top1: Accuracy on the run's validation images, 0 to 1.
    """

    run: str
    trial: NonNegativeInt | None
    architecture: str
    num_params: PositiveInt
    top1: Share


class TeacherRecord(Record):
    """The teacher of a run; `teacher/metrics.json` of the run directory.

    Attributes:
        schema_version: Version of this record on disk.
        architecture: timm name of the network.
        weights_sha256: SHA-256 of the teacher's tensors.
        class_names: Names of the classes, in the order of the outputs.
        normalisation: Normalisation of its input. Students get the same one (`models.normalisation`).
        cost: Cost at the input size of the teacher.
        top1: Validation accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels on validation, nats.
        class_top1: Validation accuracy per class, 0 to 1; None for a class without images.
        class_counts: Validation images per class.
        data_id: Digest of the data and splits on which the teacher was measured.
        trained_on_data_id: Digest of the data and splits on which `nas_distill teacher` trained it; None when unknown.
            A downloaded teacher may have been trained on the validation images, which raises its accuracy there.
        curve: Learning curve; empty unless nas_distill trained the teacher.
        lineage: Networks from the original teacher to this one, if it was a student in another run.
    """

    schema_version: Literal[1] = 1
    architecture: str
    weights_sha256: str
    class_names: tuple[str, ...]
    normalisation: Normalisation
    cost: Cost
    top1: Share
    nll_nats: NonNegativeFloat
    class_top1: tuple[Share | None, ...]
    class_counts: tuple[NonNegativeInt, ...]
    data_id: str
    trained_on_data_id: str | None = None
    curve: tuple[EpochMetrics, ...] = ()
    lineage: tuple[TeacherLink, ...] = ()
