"""What a knowledge folder holds whole, and what is wrong with the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import check_file
from nas_distill.knowledge.layout import (
    FEATURES,
    REFERENCE_ARRAYS,
    KnowledgeFolder,
    KnowledgeKey,
    KnowledgeManifest,
    Receipt,
    ShardReceipt,
    StorageErrors,
)
from nas_distill.run_directory.files import read_record

_MOST_READERS = 4

ReceiptT = TypeVar("ReceiptT", bound=Receipt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        manifest: When there is a good one.
        reference: Whether the answers to plain images are whole.
        features: Whether the features of plain validation images are; a folder from before they were stored has none.
        shards: The errors of each whole slab, by view.
        faults: What is there and wrong, or promised by a manifest and missing, as "PATH: reason".
    """

    manifest: KnowledgeManifest | None
    reference: bool
    features: bool
    shards: dict[int, StorageErrors]
    faults: tuple[str, ...]


def inspect(path: Path, key: KnowledgeKey) -> Inspection:
    """Checks every file of a knowledge folder against its receipt.

    Args:
        path: The folder; it need not exist.
        key: What it should hold.
    """
    folder = KnowledgeFolder(path)
    promised = folder.manifest.exists()
    faults: list[str] = []

    def whole_shard(view: int) -> ShardReceipt | RunError:
        try:
            return check_shard(folder, view, key)
        except RunError as error:
            return error

    # Hashing lets go of the interpreter's lock, so that threads share it.
    with ThreadPoolExecutor(min(_MOST_READERS, os.cpu_count() or 1)) as readers:
        views = [view for view in range(key.num_shards) if promised or folder.receipt(view).exists()]
        looked_at = dict(zip(views, readers.map(whole_shard, views), strict=True))
    manifest, reference, features = None, False, False
    try:
        manifest = check_manifest(folder, key) if promised else None
    except RunError as error:
        faults.append(str(error))
    try:
        reference = (promised or folder.reference.exists()) and bool(check_reference(folder, key))
    except RunError as error:
        faults.append(str(error))
    try:
        features = folder.features.exists() and bool(check_features(folder, key))
    except RunError as error:
        faults.append(str(error))
    return Inspection(
        manifest=manifest,
        reference=reference,
        features=features,
        shards={view: found.errors for view, found in looked_at.items() if isinstance(found, ShardReceipt)},
        faults=(*faults, *(str(found) for found in looked_at.values() if isinstance(found, RunError))),
    )


def check_manifest(folder: KnowledgeFolder, key: KnowledgeKey) -> KnowledgeManifest:
    """Returns the manifest.

    Raises:
        RunError: It is missing, damaged, of another version, or about other answers.
    """
    manifest = read_record(folder.manifest, KnowledgeManifest)
    if manifest.key != key:
        raise _other_answers(folder.manifest, manifest.key.digest(), key.digest())
    return manifest


def check_reference(folder: KnowledgeFolder, key: KnowledgeKey) -> Receipt:
    """Returns the receipt of the answers to plain images, all of them read and found whole.

    Raises:
        RunError: One is missing, damaged, truncated, or from elsewhere.
    """
    names = [folder.reference_array(name).name for name in REFERENCE_ARRAYS]
    return _check_receipt(folder.reference, Receipt, key.digest(), names)


def check_features(folder: KnowledgeFolder, key: KnowledgeKey) -> Receipt:
    """Returns the receipt of the features of plain validation images, of no file where the teacher gives none.

    Raises:
        RunError: They are missing, damaged, truncated, or from elsewhere.
    """
    receipt = read_record(folder.features, Receipt)
    names = [folder.reference_array(FEATURES).name] if receipt.files else []
    return _check_receipt(folder.features, Receipt, key.digest(), names)


def check_shard(folder: KnowledgeFolder, view: int, key: KnowledgeKey) -> ShardReceipt:
    """Returns the receipt of a view's slab, all of its files read and found whole.

    Raises:
        RunError: One is missing, damaged, truncated, or from elsewhere.
    """
    names = [folder.array(view, name).name for name in key.shard_arrays]
    receipt = _check_receipt(folder.receipt(view), ShardReceipt, key.digest(), names)
    if receipt.view != view:
        raise RunError(f"{folder.receipt(view)}: is the receipt of view {receipt.view}")
    return receipt


def _check_receipt(path: Path, model: type[ReceiptT], key_id: str, names: Iterable[str]) -> ReceiptT:
    receipt = read_record(path, model)
    if receipt.key_id != key_id:
        raise _other_answers(path, receipt.key_id, key_id)
    if sorted(file.name for file in receipt.files) != sorted(names):
        raise RunError(f"{path}: is no receipt of {', '.join(names)}")
    for file in receipt.files:
        check_file(path.parent, file)
    return receipt


def _other_answers(path: Path, found: str, expected: str) -> RunError:
    return RunError(f"{path}: belongs to other answers (of another teacher, data or views: {found}, not {expected})")
