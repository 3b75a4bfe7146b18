"""`ImageSource`: the interface of all image sources."""

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
    """Labelled images with random access from several threads, and from forked or spawned processes.

    Attributes:
        class_names: Class names in the order of the labels.
        labels: Labels of all images, int64 [N]; the source's own splits one after another.
        native_splits: Positions of the images of each of the source's own splits; contains "train". The ranges do not
            overlap.
        content_id: Digest of images and labels (see `DataManifest.content_id`).
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    native_splits: Mapping[SplitName, range]
    content_id: str

    @abstractmethod
    def open(self, index: int) -> Image:
        """Return image number `index`; its pixels may be read later. Raises any exception of the image library."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of image number `index` for error messages: its path if it has one."""


def content_digest(facts: object, *arrays: NDArray[np.generic]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of some facts and arrays.

    Args:
        facts: Any value that JSON can hold.
        arrays: Arrays whose types, shapes and bytes enter the digest.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
