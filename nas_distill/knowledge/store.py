"""The knowledge folder: a manifest and NumPy arrays, opened as memory maps so that processes share their pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.data.views import ViewPlan
from nas_distill.errors import RunError
from nas_distill.frozen import Record
from nas_distill.store import read_record

MANIFEST = "manifest.json"


class KnowledgeKey(Record):
    """What stored answers depend on; its digest is their ID.

    Attributes:
        schema_version: Of the folder's layout.
        teacher_sha256: Of the teacher's tensors.
        teacher_image_size: Pixels at which it was asked.
        data_id: Of the data and splits.
        plan: The views.
        slabs: Views that are stored; 0 when the teacher is asked online.
    """

    schema_version: Literal[1] = 1
    teacher_sha256: str
    teacher_image_size: int
    data_id: str
    plan: ViewPlan
    slabs: int


class KnowledgeManifest(Record):
    """`manifest.json` of a knowledge folder.

    Attributes:
        key: What the answers depend on.
        num_images: Training images N.
        num_classes: Classes C.
        max_rounding_error: Largest absolute difference that float16 made to a logit.
        build_time_s: Seconds it took.
    """

    key: KnowledgeKey
    num_images: int
    num_classes: int
    max_rounding_error: float
    build_time_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceAnswers:
    """The teacher's logits for plain images, against which students are measured.

    Attributes:
        validation: float32 [N_validation, C].
        subset_indices: int64 [M], positions in the training split: the fixed training subset.
        subset: float32 [M, C].
    """

    validation: Tensor
    subset_indices: Tensor
    subset: Tensor


class Knowledge:
    """An opened knowledge folder.

    Args:
        folder: As `build_knowledge` wrote it.

    Raises:
        RunError: It is missing, damaged or incomplete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_record(folder / MANIFEST, KnowledgeManifest)
        shape = (self.manifest.key.slabs, self.manifest.num_images, self.manifest.num_classes)
        self._slabs = self._open("train_logits", shape) if self.manifest.key.slabs else None

    def reference(self) -> ReferenceAnswers:
        """Returns the teacher's answers to plain images, copied into memory."""
        classes = self.manifest.num_classes
        indices = np.array(self._open("subset_indices", (None,)))
        return ReferenceAnswers(
            validation=torch.from_numpy(np.array(self._open("validation_logits", (None, classes)))),
            subset_indices=torch.from_numpy(indices),
            subset=torch.from_numpy(np.array(self._open("subset_logits", (len(indices), classes)))),
        )

    def slab(self, view: int) -> Tensor:
        """Returns the stored logits of one view of every training image, float16 [N, C].

        Raises:
            IndexError: The view is not stored.
        """
        if self._slabs is None or not 0 <= view < len(self._slabs):
            raise IndexError(f"view {view} is not stored in {self.folder}")
        return torch.from_numpy(np.array(self._slabs[view]))

    def _open(self, name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        way_out = f"delete {self.folder} and resume: it is built again"
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read: {error}; {way_out}") from error
        if len(shape) != array.ndim or any(w not in (None, h) for w, h in zip(shape, array.shape, strict=True)):
            raise RunError(f"{path}: has shape {array.shape}, its manifest says {shape}; {way_out}")
        return array
