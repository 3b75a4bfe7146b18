"""The knowledge folder as trials read it: a manifest and arrays, opened as memory maps that processes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import RESUME_HINT, map_array
from nas_distill.knowledge.inspection import check_features, check_reference, check_shard
from nas_distill.knowledge.layout import FEATURES, KnowledgeFolder, KnowledgeManifest
from nas_distill.knowledge.shard import Shard
from nas_distill.run_directory.files import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceOutputs:
    """The teacher's logits for plain images, against which students are measured; memory-mapped.

    Attributes:
        validation: float32 [N_validation, C].
        subset_indices: int64 [M], positions in the training split: the fixed training subset.
        subset: float32 [M, C].
        features: float32 [F, D], penultimate, of the validation images at `features.feature_positions`; None where the
            teacher gives none, or they were not stored.
    """

    validation: Tensor
    subset_indices: Tensor
    subset: Tensor
    features: Tensor | None = None


class Knowledge:
    """An opened knowledge folder. Every file is compared with its checksum before it is first read.

    Args:
        folder: As `build_knowledge` wrote it.

    Raises:
        RunError: It is half-built, or its manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = KnowledgeFolder(folder)
        try:
            self.manifest = read_record(self._paths.manifest, KnowledgeManifest)
        except RunError as error:
            raise RunError(f"{error}; {RESUME_HINT}") from error
        self._checked: set[int] = set()

    def reference(self) -> ReferenceOutputs:
        """Returns the teacher's answers to plain images.

        Raises:
            RunError: They are damaged.
        """
        try:
            check_reference(self._paths, self.manifest.key)
            stored = self._paths.features.exists() and check_features(self._paths, self.manifest.key).files
        except RunError as error:
            raise RunError(f"{error}; {RESUME_HINT}") from error
        logits, classes = np.dtype(np.float32), self.manifest.shape.num_classes
        indices = self._reference_array("subset_indices", np.dtype(np.int64), (None,))
        return ReferenceOutputs(
            validation=torch.from_numpy(self._reference_array("validation_logits", logits, (None, classes))),
            subset_indices=torch.from_numpy(indices),
            subset=torch.from_numpy(self._reference_array("subset_logits", logits, (len(indices), classes))),
            features=torch.from_numpy(self._reference_array(FEATURES, logits, (None, None))) if stored else None,
        )

    def shard(self, view: int, device: torch.device) -> Shard:
        """Returns the stored answers to one view, for use on `device`.

        Raises:
            IndexError: The view is not stored.
            RunError: Its files are damaged.
        """
        if not 0 <= view < self.manifest.key.num_shards:
            raise IndexError(f"view {view} is not stored in {self.folder}")
        if view not in self._checked:
            try:
                check_shard(self._paths, view, self.manifest.key)
            except RunError as error:
                raise RunError(f"{error}; {RESUME_HINT}") from error
            self._checked.add(view)
        return Shard(self._paths, view, self.manifest.shape, device)

    def _reference_array(self, name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
        return map_array(self._paths.reference_array(name), dtype, shape)
