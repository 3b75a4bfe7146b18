"""`Knowledge`: a knowledge folder as trials read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import map_stored, with_hint
from nas_distill.knowledge.inspection import check_reference, check_shard
from nas_distill.knowledge.layout import FEATURES, KnowledgeFolder, KnowledgeManifest
from nas_distill.knowledge.shard import Shard
from nas_distill.run_directory.files import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceOutputs:
    """The teacher's outputs for plain images, with which students are compared; memory-mapped.

    Attributes:
        validation: Logits of the validation images, float32 [N_validation, C].
        subset_indices: Positions of a fixed subset of the training split, int64 [M].
        subset: Logits of that subset, float32 [M, C].
        features: Penultimate features of the validation images at `features.feature_positions`, float32 [F, D]; None
            if the teacher has none.
    """

    validation: Tensor
    subset_indices: Tensor
    subset: Tensor
    features: Tensor | None = None


class Knowledge:
    """An opened knowledge folder. Every file is compared with its checksum before it is first read.

    Args:
        folder: Folder that `build_knowledge` has completed.

    Raises:
        RunError: The folder is incomplete, or its manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = KnowledgeFolder(folder)
        try:
            self.manifest = read_record(self._paths.manifest, KnowledgeManifest)
        except RunError as error:
            raise with_hint(error) from error
        self._checked_views: set[int] = set()

    def reference(self) -> ReferenceOutputs:
        """Return the teacher's outputs for plain images.

        Raises:
            RunError: A file is missing or damaged.
        """
        try:
            receipt = check_reference(self._paths, self.manifest.key)
        except RunError as error:
            raise with_hint(error) from error
        num_classes = self.manifest.shape.num_classes
        indices = self._map("subset_indices", (None,), np.int64)
        has_features = self._paths.reference_array(FEATURES).name in {file.name for file in receipt.files}
        return ReferenceOutputs(
            validation=self._map("validation_logits", (None, num_classes)),
            subset_indices=indices,
            subset=self._map("subset_logits", (len(indices), num_classes)),
            features=self._map(FEATURES, (None, None)) if has_features else None,
        )

    def shard(self, view: int, device: torch.device) -> Shard:
        """Return the stored outputs for one view, for use on `device`.

        Raises:
            IndexError: The view is not stored.
            RunError: A file of the shard is missing or damaged.
        """
        if not 0 <= view < self.manifest.key.num_shards:
            raise IndexError(f"view {view} is not stored in {self.folder}")
        if view not in self._checked_views:
            try:
                check_shard(self._paths, view, self.manifest.key)
            except RunError as error:
                raise with_hint(error) from error
            self._checked_views.add(view)
        return Shard(self._paths, view, self.manifest.shape, device)

    def _map(
        self, name: str, shape: tuple[int | None, ...], dtype: type[np.float32] | type[np.int64] = np.float32
    ) -> Tensor:
        return torch.from_numpy(map_stored(self._paths.reference_array(name), np.dtype(dtype), shape))
