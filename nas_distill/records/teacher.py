"""The record of a teacher."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from nas_distill.records.base import Record, Share
from nas_distill.records.student import Cost
from nas_distill.records.trial import EpochMetrics


class TeacherLink(Record):
    """One network of the chain that leads to a teacher which was a student itself.

    Attributes:
        run: Name of the run in which it taught, or was taught.
        trial: Number of the trial there whose student it is; None for that run's teacher.
        architecture: timm name.
        num_params: Its parameters.
        top1: Accuracy on that run's validation images, 0 to 1.
    """

    run: str
    trial: NonNegativeInt | None
    architecture: str
    num_params: PositiveInt
    top1: Share


class TeacherRecord(Record):
    """The teacher as the search sees it; `teacher/metrics.json` of a run.

    Attributes:
        schema_version: Of this record on disk.
        architecture: timm name.
        weights_sha256: Digest of the teacher's tensors.
        class_names: In the order of its outputs.
        cost: At the data's (or its own) input size.
        top1: Validation accuracy, 0 to 1.
        nll_nats: Validation negative log-likelihood.
        class_top1: Per class; None for a class without images.
        class_counts: Validation images per class.
        data_id: Digest of data and splits it was measured on.
        trained_on_data_id: Digest of data and splits it was trained on by `nas_distill teacher`; None when
            unknown (a downloaded teacher may have seen the validation images, which flatters it).
        curve: Learning curve, when this product trained it.
        lineage: When it was a student in another run: who taught whom, from the original teacher to itself.
    """

    schema_version: Literal[1] = 1
    architecture: str
    weights_sha256: str
    class_names: tuple[str, ...]
    cost: Cost
    top1: Share
    nll_nats: NonNegativeFloat
    class_top1: tuple[Share | None, ...]
    class_counts: tuple[NonNegativeInt, ...]
    data_id: str
    trained_on_data_id: str | None = None
    curve: tuple[EpochMetrics, ...] = ()
    lineage: tuple[TeacherLink, ...] = ()
