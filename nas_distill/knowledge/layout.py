"""The knowledge folder: names, shapes and records of what it holds.

```
knowledge/ID/
  manifest.json              written last: a folder without it is half-built and never used
  reference.json             receipt of validation_logits.npy, subset_logits.npy, subset_indices.npy
  features.json              receipt of validation_features.npy, of no file where the teacher gives none
  views/00003.json           receipt of view 3, written after its files:
  views/00003.logits.npy     float16 [N, C], or, when only the largest are kept,
  views/00003.top_logits.npy float16 [N, k], 00003.top_classes.npy uint16 or int32 [N, k], 00003.tail.npy float32 [N]
  views/00003.embeddings.npy float16 [N, D], when asked for
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from nas_distill.data.views.plan import ViewPlan
from nas_distill.records.base import FrozenArguments, Record

MANIFEST = "manifest.json"
REFERENCE = "reference"
FEATURES = "validation_features"
REFERENCE_ARRAYS = ("validation_logits", "subset_logits", "subset_indices")

_DENSE_UP_TO = 128
_TOP_K = 32
_MOST_UINT16_CLASSES = 2**16


class OutputStorage(Record):
    """How much of an answer is stored.

    Attributes:
        top_k: The largest logits, and of the others their joint mass; 0 stores all; by default all of up to 128
            classes, and the 32 largest of more.
        embeddings: The penultimate embedding too.
    """

    top_k: NonNegativeInt | None = None
    embeddings: bool = False

    def stored_top_k(self, num_classes: int) -> int:
        """Returns how many logits of `num_classes` are stored one by one; 0 when all are."""
        asked = self.top_k
        if asked is None:
            asked = 0 if num_classes <= _DENSE_UP_TO else _TOP_K
        return asked if asked < num_classes else 0


class KnowledgeKey(Record):
    """What stored answers depend on; its digest is their ID.

    Attributes:
        schema_version: Of the folder's layout.
        teacher_sha256: Of the teacher's tensors.
        teacher_architecture: Its timm name.
        teacher_arguments: Its constructor arguments.
        teacher_image_size: Pixels at which it was asked.
        teacher_mean: Of its normalisation, per channel.
        teacher_std: Likewise.
        data_id: Of the data and splits.
        plan: The views.
        num_shards: Views that are stored; 0 when the teacher is asked online.
        top_k: Logits stored one by one; 0 when all are.
        embeddings: Whether embeddings are stored.
    """

    schema_version: Literal[2] = 2
    teacher_sha256: str
    teacher_architecture: str
    teacher_arguments: FrozenArguments
    teacher_image_size: int
    teacher_mean: tuple[float, ...]
    teacher_std: tuple[float, ...]
    data_id: str
    plan: ViewPlan
    num_shards: NonNegativeInt
    top_k: NonNegativeInt
    embeddings: bool

    @property
    def shard_arrays(self) -> tuple[str, ...]:
        """Names of a slab's arrays."""
        logits = ("top_logits", "top_classes", "tail") if self.top_k else ("logits",)
        return (*logits, "embeddings") if self.embeddings else logits


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """One array of a slab, N rows.

    Attributes:
        dtype: Of its numbers.
        row: Shape of a row.
    """

    dtype: np.dtype[np.generic]
    row: tuple[int, ...]


class ShardShape(Record):
    """The shapes of a slab's arrays.

    Attributes:
        num_images: Training images N.
        num_classes: Classes C.
        top_k: Logits stored one by one, k; 0 when all are.
        embedding_size: Width D of the stored embeddings; 0 when there are none.
    """

    num_images: NonNegativeInt
    num_classes: PositiveInt
    top_k: NonNegativeInt
    embedding_size: NonNegativeInt

    @property
    def arrays(self) -> dict[str, ArrayShape]:
        """A slab's arrays by name."""
        half, single = np.dtype(np.float16), np.dtype(np.float32)
        if self.top_k:
            classes = np.dtype(np.uint16 if self.num_classes <= _MOST_UINT16_CLASSES else np.int32)
            arrays = {
                "top_logits": ArrayShape(half, (self.top_k,)),
                "top_classes": ArrayShape(classes, (self.top_k,)),
                "tail": ArrayShape(single, ()),
            }
        else:
            arrays = {"logits": ArrayShape(half, (self.num_classes,))}
        if self.embedding_size:
            arrays["embeddings"] = ArrayShape(half, (self.embedding_size,))
        return arrays

    @property
    def row_bytes(self) -> int:
        """Bytes that a slab takes per image."""
        return sum(array.dtype.itemsize * int(np.prod(array.row)) for array in self.arrays.values())


class Divergence(Record):
    """What was lost by disk_errors only the largest logits: KL(teacher || stored).

    Attributes:
        temperature: At which both are softened.
        mean_nats: Over images and views.
        max_nats: Of the worst image and view.
    """

    temperature: float
    mean_nats: float
    max_nats: float


class StorageErrors(Record):
    """How far stored answers are from the teacher's own.

    Attributes:
        max_rounding: Largest absolute difference that float16 made to a stored logit.
        divergence: At temperatures 1 and 4 when only the largest logits are stored, else empty.
    """

    max_rounding: float
    divergence: tuple[Divergence, ...] = ()


class FileReceipt(Record):
    """A file that was written whole.

    Attributes:
        name: In its folder.
        num_bytes: Its length.
        sha256: Of its bytes.
    """

    name: str
    num_bytes: int
    sha256: str


class Receipt(Record):
    """What was written together; written after all of it.

    Attributes:
        key_id: Digest of the key that it belongs to.
        files: What was written.
    """

    key_id: str
    files: tuple[FileReceipt, ...]


class ShardReceipt(Receipt):
    """The receipt of one view.

    Attributes:
        view: Its number.
        errors: Over its images.
    """

    view: NonNegativeInt
    errors: StorageErrors


class KnowledgeManifest(Record):
    """`manifest.json` of a knowledge folder.

    Attributes:
        key: What the answers depend on.
        shape: Of every slab.
        errors: Over all slabs.
        build_time_s: Seconds it took, in the process that finished it.
    """

    key: KnowledgeKey
    shape: ShardShape
    errors: StorageErrors
    build_time_s: float


@dataclass(frozen=True, slots=True)
class KnowledgeFolder:
    """The paths in one knowledge folder."""

    path: Path

    @property
    def manifest(self) -> Path:
        """Written last."""
        return self.path / MANIFEST

    @property
    def views(self) -> Path:
        """The slabs."""
        return self.path / "views"

    @property
    def reference(self) -> Path:
        """Receipt of the answers to plain images."""
        return self.path / f"{REFERENCE}.json"

    @property
    def features(self) -> Path:
        """Receipt of the features of plain validation images."""
        return self.path / "features.json"

    def reference_array(self, name: str) -> Path:
        """Returns an array of the answers to plain images."""
        return self.path / f"{name}.npy"

    def receipt(self, view: int) -> Path:
        """Returns a view's receipt."""
        return self.views / f"{view:05d}.json"

    def array(self, view: int, name: str) -> Path:
        """Returns an array of a view."""
        return self.views / f"{view:05d}.{name}.npy"


def merge_errors(errors: Sequence[StorageErrors]) -> StorageErrors:
    """Returns the errors over all of several slabs, which hold as many images each."""
    if not errors:
        return StorageErrors(max_rounding=0.0)
    columns = zip(*(error.divergence for error in errors), strict=True)
    return StorageErrors(
        max_rounding=max(error.max_rounding for error in errors),
        divergence=tuple(
            Divergence(
                temperature=column[0].temperature,
                mean_nats=sum(part.mean_nats for part in column) / len(column),
                max_nats=max(part.max_nats for part in column),
            )
            for column in columns
        ),
    )
