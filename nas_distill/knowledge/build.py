"""Building the teacher's stored answers: one forward pass per image and view, ever."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.data.views import ViewPlan, render_view
from nas_distill.errors import RunError, TeacherError
from nas_distill.knowledge.store import MANIFEST, Knowledge, KnowledgeKey, KnowledgeManifest
from nas_distill.models.teacher import Teacher
from nas_distill.progress import Progress
from nas_distill.store import rename_durably, write_record

_BATCH_SIZE = 512
_LEAST_SUBSET = 1000
_FLOAT16_MAX = 65504.0


def build_knowledge(
    teacher: Teacher,
    *,
    train: ImageSplit,
    validation: ImageSplit,
    plan: ViewPlan,
    online: bool,
    root: Path,
    device: torch.device,
    progress: Progress,
) -> Knowledge:
    """Stores the teacher's answers, or opens them when they are stored already.

    The folder `root/ID` appears in one rename when it is whole; ID is the digest of teacher, data and views. It holds
    `train_logits.npy` float16 [K, N, C] (view-major: one slab is one epoch), `validation_logits.npy` and
    `subset_logits.npy` float32 (plain images, against which students are measured) and `subset_indices.npy`.

    Args:
        teacher: Moved to `device`.
        train: Training split, N images.
        validation: Validation split.
        plan: K views.
        online: Store no views, only the answers to plain images.
        root: The run's knowledge folder.
        device: Where the teacher answers.
        progress: Told after every batch.

    Raises:
        TeacherError: The teacher answers NaN, infinities, or numbers beyond float16.
        RunError: The disk is full or the file system refuses.
    """
    key = KnowledgeKey(
        teacher_sha256=teacher.weights_sha256(),
        teacher_image_size=teacher.image_size,
        data_id=train.manifest.data_id,
        plan=plan,
        slabs=0 if online else plan.count,
    )
    folder = root / key.digest()
    if (folder / MANIFEST).exists():
        progress.event("knowledge", f"the teacher's answers are stored already ({folder.name})")
        return Knowledge(folder)
    _check_room(root, key.slabs * train.num_images * teacher.num_classes * 2)
    partial = root / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    started = time.perf_counter()
    try:
        asked = _Asked(teacher=teacher.to(device), train=train, validation=validation, device=device)
        rounding = _write_answers(asked, key, partial, progress)
        manifest = KnowledgeManifest(
            key=key,
            num_images=train.num_images,
            num_classes=teacher.num_classes,
            max_rounding_error=rounding,
            build_time_s=round(time.perf_counter() - started, 3),
        )
        write_record(partial / MANIFEST, manifest)
        shutil.rmtree(folder, ignore_errors=True)
        rename_durably(partial, folder)
    except OSError as error:
        raise RunError(f"{folder}: the teacher's answers cannot be stored: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    progress.event(
        "knowledge",
        f"stored the teacher's answers to {key.slabs} views of {train.num_images} images in "
        f"{manifest.build_time_s:.1f} s (largest float16 rounding {rounding:.1e})",
    )
    return Knowledge(folder)


def _check_room(root: Path, needed: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise RunError(
            f"{root}: the teacher's answers need {needed / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free; lower "
            "views.count, use --online-teacher, or choose another --out"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who is asked about what, where."""

    teacher: Teacher
    train: ImageSplit
    validation: ImageSplit
    device: torch.device

    def plain(self, split: ImageSplit, indices: Tensor | None = None) -> Tensor:
        """Returns the answers to plain images, float32 [N, C] on the CPU."""
        order = torch.arange(split.num_images) if indices is None else indices
        batches = split.batches(order, _BATCH_SIZE, device=self.device)
        return torch.cat([_checked(self.teacher(batch.images)) for batch in batches]).cpu()

    def view(self, view: int, plan: ViewPlan) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields positions and answers, float32 [B, C], of one view of every training image, on the CPU."""
        for batch in self.train.batches(torch.arange(self.train.num_images), _BATCH_SIZE, device=self.device):
            images = render_view(batch.images, batch.indices, view, plan)
            yield batch.indices.cpu(), _checked(self.teacher(images)).cpu()


def _write_answers(asked: _Asked, key: KnowledgeKey, folder: Path, progress: Progress) -> float:
    """Writes all arrays; returns the largest rounding error of a stored logit."""
    train = asked.train
    np.save(folder / "validation_logits.npy", asked.plain(asked.validation).numpy())
    # Enough images to measure to about a point, never more than needed: the subset is evaluated in every trial.
    size = min(train.num_images, max(asked.validation.num_images, _LEAST_SUBSET))
    subset = np.sort(np.random.default_rng(0).permutation(train.num_images)[:size])
    np.save(folder / "subset_indices.npy", subset)
    np.save(folder / "subset_logits.npy", asked.plain(train, torch.from_numpy(subset)).numpy())
    if key.slabs == 0:
        return 0.0
    shape = (key.slabs, train.num_images, asked.teacher.num_classes)
    slabs = np.lib.format.open_memmap(folder / "train_logits.npy", mode="w+", dtype=np.float16, shape=shape)
    rounding = 0.0
    for view in range(key.slabs):
        for indices, logits in asked.view(view, key.plan):
            stored = logits.half()
            rounding = max(rounding, (stored.float() - logits).abs().max().item())
            slabs[view, indices.numpy()] = stored.numpy()
        progress.step("teacher's answers", view + 1, key.slabs, "views")
    slabs.flush()
    return rounding


def _checked(logits: Tensor) -> Tensor:
    largest = logits.abs().max().item()
    if not largest <= _FLOAT16_MAX:
        raise TeacherError(
            f"teacher.model: the teacher answered {largest} for a logit; finite values up to {_FLOAT16_MAX:.0f} "
            "are needed (is its normalisation the one it was trained with?)"
        )
    return logits
