"""The teacher's logits for the test images: computed when a student is first confirmed, and stored in the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import ArrayWriter, map_stored, with_hint
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.layout import Receipt
from nas_distill.knowledge.writing import disk_errors, plain_logits
from nas_distill.models.teacher import Teacher
from nas_distill.run_directory.files import read_record, sync_directory, write_record
from nas_distill.run_directory.receipts import check_receipt

_ARRAY, _RECEIPT = "test_logits.npy", "test_logits.json"
_FLOAT32 = np.dtype(np.float32)
_CONFIRM_HINT = "run confirm again to run the teacher again"


def store_test_logits(folder: Path, teacher: Teacher, test: ImageSplit, device: torch.device) -> None:
    """Store the teacher's logits for the test images in `folder`, unless they are stored already.

    Args:
        folder: Folder of the files; created if it is missing.
        teacher: Teacher; moved to `device`.
        test: Test split.
        device: Device to run the teacher on.

    Raises:
        TeacherError: A logit is NaN, infinite or beyond float16.
        RunError: The files cannot be written.
    """
    key = _key(teacher.weights_sha256(), test.manifest.data_id)
    try:
        _check(folder, key)
    except RunError:  # missing, damaged, or of another teacher or other data
        pass
    else:
        return
    inference = TeacherInference(teacher, device, embeddings=False)
    shape = (test.num_images, teacher.num_classes)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with ArrayWriter(folder / _ARRAY, _FLOAT32, shape) as writer:
            for logits in plain_logits(inference, test, torch.arange(test.num_images)):
                writer.append(logits.cpu().numpy())
            receipt = writer.finish()
        sync_directory(folder)
        write_record(folder / _RECEIPT, Receipt(key_id=key, files=(receipt,)))


def read_test_logits(folder: Path, *, teacher_sha256: str, data_id: str) -> Tensor:
    """Return the stored logits as a memory map, float32 [N_test, C].

    Args:
        folder: Folder of the files.
        teacher_sha256: Digest of the expected teacher's weights.
        data_id: Digest of the expected data (see `DataManifest.data_id`).

    Raises:
        RunError: The files are missing, damaged, or of another teacher or other data.
    """
    try:
        _check(folder, _key(teacher_sha256, data_id))
    except RunError as error:
        raise with_hint(error, _CONFIRM_HINT) from error
    return torch.from_numpy(map_stored(folder / _ARRAY, _FLOAT32, (None, None)))


def _key(teacher_sha256: str, data_id: str) -> str:
    return f"{teacher_sha256[:12]}-{data_id}"


def _check(folder: Path, key: str) -> None:
    receipt = read_record(folder / _RECEIPT, Receipt)
    if receipt.key_id != key or [file.name for file in receipt.files] != [_ARRAY]:
        raise RunError(
            "the file belongs to another teacher or other data",
            code="knowledge.other_outputs",
            field=str(folder / _RECEIPT),
        )
    check_receipt(folder / _ARRAY, receipt.files[0], code="knowledge.damaged_file")
