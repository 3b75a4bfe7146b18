"""The knowledge folder: file names, array shapes and JSON records.

```
knowledge/ID/
  manifest.json              written last; a folder without it is incomplete and never used
  reference.json             receipt of validation_logits.npy, subset_logits.npy, subset_indices.npy and, if the teacher
                             has penultimate features, validation_features.npy
  views/00003.json           receipt of the shard of view 3, written after its files:
  views/00003.logits.npy     float16 [N, C]; or, if only the largest logits are stored,
  views/00003.top_logits.npy float16 [N, k], 00003.top_classes.npy uint16 or int32 [N, k], 00003.tail.npy float32 [N]
  views/00003.embeddings.npy float16 [N, D], if embeddings are stored
```

A receipt lists files with their sizes and checksums. It is written after the files, so it also states that they are
complete.
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
from nas_distill.run_directory.receipts import FileReceipt

MANIFEST = "manifest.json"
REFERENCE = "reference"
FEATURES = "validation_features"
REFERENCE_ARRAYS = ("validation_logits", "subset_logits", "subset_indices")

_DENSE_UP_TO = 128
_TOP_K = 32
_MOST_UINT16_CLASSES = 2**16


class OutputStorage(Record):
    """Which of the teacher's outputs are stored.

    Attributes:
        top_k: Number of largest logits to store, together with the combined mass of the others; 0 for all logits. None
            stores all logits of up to 128 classes, and the 32 largest of more.
        embeddings: Whether to store the penultimate embedding too.
    """

    top_k: NonNegativeInt | None = None
    embeddings: bool = False

    def stored_top_k(self, num_classes: int) -> int:
        """Return how many of `num_classes` logits are stored individually; 0 for all."""
        top_k = self.top_k
        if top_k is None:
            top_k = 0 if num_classes <= _DENSE_UP_TO else _TOP_K
        return top_k if top_k < num_classes else 0


class KnowledgeKey(Record):
    """Everything that stored outputs depend on; its digest is the ID of the knowledge folder.

    Attributes:
        schema_version: Version of the folder's layout.
        teacher_sha256: Digest of the teacher's weights.
        teacher_architecture: timm name of the teacher.
        teacher_arguments: Constructor arguments of the teacher.
        teacher_image_size: Height and width of the teacher's input, pixels.
        teacher_mean: Mean per channel of the teacher's normalisation.
        teacher_std: Standard deviation per channel of the teacher's normalisation.
        data_id: Digest of images and splits (see `DataManifest.data_id`).
        plan: Augmentation settings of the views.
        num_shards: Number of stored views; 0 if the teacher runs online.
        top_k: Number of logits stored individually; 0 for all.
        embeddings: Whether embeddings are stored.
    """

    schema_version: Literal[1] = 1
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
        """Names of the arrays of a shard."""
        logits = ("top_logits", "top_classes", "tail") if self.top_k else ("logits",)
        return (*logits, "embeddings") if self.embeddings else logits


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """Type and row shape of one array of a shard.

    Attributes:
        dtype: Type of the numbers.
        row: Shape of one of the N rows.
    """

    dtype: np.dtype[np.generic]
    row: tuple[int, ...]


class ShardShape(Record):
    """Shapes of the arrays of a shard.

    Attributes:
        num_images: Number of training images N.
        num_classes: Number of classes C.
        top_k: Number k of logits stored individually; 0 for all.
        embedding_size: Width D of the stored embeddings; 0 for none.
    """

    num_images: NonNegativeInt
    num_classes: PositiveInt
    top_k: NonNegativeInt
    embedding_size: NonNegativeInt

    @property
    def arrays(self) -> dict[str, ArrayShape]:
        """Type and row shape of each array by name."""
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
        """Size of a shard per image, bytes."""
        return sum(array.dtype.itemsize * int(np.prod(array.row)) for array in self.arrays.values())


class Divergence(Record):
    """Information lost by storing only the largest logits: KL(teacher || stored).

    Attributes:
        temperature: Temperature of both softmaxes.
        mean_nats: Mean over images and views, nats.
        max_nats: Largest value of any image and view, nats.
    """

    temperature: float
    mean_nats: float
    max_nats: float


class StorageErrors(Record):
    """Difference between the stored outputs and the teacher's outputs.

    Attributes:
        max_rounding: Largest absolute rounding error of a stored logit (float16).
        divergence: Divergence at temperatures 1 and 4 if only the largest logits are stored, else empty.
    """

    max_rounding: float
    divergence: tuple[Divergence, ...] = ()


class Receipt(Record):
    """List of files that were written together; written after them.

    Attributes:
        key_id: Digest of the key of the stored outputs.
        files: Size and checksum of each file.
    """

    key_id: str
    files: tuple[FileReceipt, ...]


class ShardReceipt(Receipt):
    """Receipt of the shard of one view.

    Attributes:
        view: View number.
        errors: Storage errors over the images of the view.
    """

    view: NonNegativeInt
    errors: StorageErrors


class KnowledgeManifest(Record):
    """`manifest.json` of a knowledge folder.

    Attributes:
        key: Everything that the outputs depend on.
        shape: Shapes of every shard.
        errors: Storage errors over all shards.
        build_time_s: Seconds from the start to the end of the build that wrote this manifest.
    """

    key: KnowledgeKey
    shape: ShardShape
    errors: StorageErrors
    build_time_s: float


@dataclass(frozen=True, slots=True)
class KnowledgeFolder:
    """Paths in one knowledge folder."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The manifest, written last."""
        return self.path / MANIFEST

    @property
    def views(self) -> Path:
        """Folder of the shards."""
        return self.path / "views"

    @property
    def reference(self) -> Path:
        """Receipt of the outputs for plain images."""
        return self.path / f"{REFERENCE}.json"

    def reference_array(self, name: str) -> Path:
        """Return the path of an array of outputs for plain images."""
        return self.path / f"{name}.npy"

    def receipt(self, view: int) -> Path:
        """Return the path of the receipt of a view's shard."""
        return self.views / f"{view:05d}.json"

    def array(self, view: int, name: str) -> Path:
        """Return the path of an array of a view's shard."""
        return self.views / f"{view:05d}.{name}.npy"


def merge_errors(errors: Sequence[StorageErrors]) -> StorageErrors:
    """Return the storage errors over several shards with the same number of images."""
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
