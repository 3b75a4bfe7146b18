"""Find out which files of a knowledge folder are complete, and what is wrong with the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nas_distill.errors import RunError
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
from nas_distill.run_directory.receipts import check_receipt

_MAX_READERS = 4

ReceiptT = TypeVar("ReceiptT", bound=Receipt)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The state of a knowledge folder.

    Attributes:
        manifest: The manifest, if it is valid.
        reference: Whether the outputs for plain images are complete.
        shards: Storage errors of each complete shard, by view.
        problems: Errors of files that are damaged, belong elsewhere, or are missing although the folder has a manifest.
    """

    manifest: KnowledgeManifest | None
    reference: bool
    shards: dict[int, StorageErrors]
    problems: tuple[RunError, ...]


def inspect_folder(path: Path, key: KnowledgeKey) -> Inspection:
    """Check every file of a knowledge folder against its receipt.

    Args:
        path: Knowledge folder; it need not exist.
        key: Key of the outputs that the folder should hold.
    """
    folder = KnowledgeFolder(path)
    # The manifest is written last: without it, missing files are not an error.
    has_manifest = folder.manifest.exists()
    views = [view for view in range(key.num_shards) if has_manifest or folder.receipt(view).exists()]
    # Hashing releases the interpreter lock, so threads run in parallel.
    with ThreadPoolExecutor(min(_MAX_READERS, os.cpu_count() or 1)) as readers:
        shards = list(readers.map(lambda view: _try(lambda: check_shard(folder, view, key)), views))
    manifest = _try(lambda: check_manifest(folder, key)) if has_manifest else None
    reference = _try(lambda: check_reference(folder, key)) if has_manifest or folder.reference.exists() else None
    return Inspection(
        manifest=manifest if isinstance(manifest, KnowledgeManifest) else None,
        reference=isinstance(reference, Receipt),
        shards={shard.view: shard.errors for shard in shards if isinstance(shard, ShardReceipt)},
        problems=tuple(result for result in (manifest, reference, *shards) if isinstance(result, RunError)),
    )


def check_manifest(folder: KnowledgeFolder, key: KnowledgeKey) -> KnowledgeManifest:
    """Return the manifest.

    Raises:
        RunError: The manifest is missing, damaged, of another version, or of other outputs.
    """
    manifest = read_record(folder.manifest, KnowledgeManifest)
    if manifest.key != key:
        raise _other_outputs(folder.manifest, manifest.key.digest(), key.digest())
    return manifest


def check_reference(folder: KnowledgeFolder, key: KnowledgeKey) -> Receipt:
    """Return the receipt of the outputs for plain images after checking all of its files.

    Raises:
        RunError: A file is missing, damaged or of other outputs.
    """
    names = [folder.reference_array(name).name for name in REFERENCE_ARRAYS]
    return _check_receipt(
        folder.reference, Receipt, key.digest(), names, optional=[folder.reference_array(FEATURES).name]
    )


def check_shard(folder: KnowledgeFolder, view: int, key: KnowledgeKey) -> ShardReceipt:
    """Return the receipt of a view's shard after checking all of its files.

    Raises:
        RunError: A file is missing, damaged or of other outputs.
    """
    names = [folder.array(view, name).name for name in key.shard_arrays]
    receipt = _check_receipt(folder.receipt(view), ShardReceipt, key.digest(), names)
    if receipt.view != view:
        raise _wrong_receipt(folder.receipt(view), f"this is the receipt of view {receipt.view}")
    return receipt


def _try(function: Callable[[], ResultT]) -> ResultT | RunError:
    """Return the result of `function`, or the error that it raises."""
    try:
        return function()
    except RunError as error:
        return error


def _check_receipt(
    path: Path, model: type[ReceiptT], key_id: str, names: Iterable[str], optional: Iterable[str] = ()
) -> ReceiptT:
    receipt = read_record(path, model)
    if receipt.key_id != key_id:
        raise _other_outputs(path, receipt.key_id, key_id)
    if {file.name for file in receipt.files} - set(optional) != set(names):
        raise _wrong_receipt(path, f"this is not a receipt of {', '.join(names)}")
    for file in receipt.files:
        check_receipt(path.parent / file.name, file, code="knowledge.damaged_file")
    return receipt


def _other_outputs(path: Path, found: str, expected: str) -> RunError:
    return RunError(
        f"the file belongs to another teacher, other data or other views ({found} instead of {expected})",
        code="knowledge.other_outputs",
        field=str(path),
    )


def _wrong_receipt(path: Path, problem: str) -> RunError:
    return RunError(problem, code="knowledge.wrong_receipt", field=str(path))
