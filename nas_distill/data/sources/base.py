"""What every source of images offers."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from nas_distill.data.manifest import SplitName


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSource(ABC):
    """Labelled images with random access, from several threads and from forked or spawned processes.

    Attributes:
        class_names: In the order of the labels.
        labels: int64 [N], of all images, those of every split in one sequence.
        native_splits: Positions that the source itself files under a split; "train" always, no two overlap.
        content_id: Digest of images and labels (`DataManifest.content_id`).
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    native_splits: Mapping[SplitName, range]
    content_id: str

    @abstractmethod
    def open(self, index: int) -> Image:
        """Returns image number `index`, perhaps unread yet; raises whatever its library raises."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Returns what to call image number `index` in an error: its path, where it has one."""


def content_digest(facts: object, *arrays: NDArray[np.generic]) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of JSON `facts` and of the bytes of `arrays`."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
