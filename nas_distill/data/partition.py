"""Assign every image to the training, validation or test split, and store the assignment in `split.npz`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_distill.data.manifest import SPLIT_NAMES, SplitName, SplitSettings
from nas_distill.data.stratified import Indices, split_off, subsample
from nas_distill.errors import DataError, RunError
from nas_distill.run_directory.arrays import DAMAGED_ARRAY
from nas_distill.run_directory.files import write_atomic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitIndices:
    """The images of one split.

    Attributes:
        indices: Positions in the source, int64 [N], ascending.
        labels: Class labels, int64 [N].
    """

    indices: Indices
    labels: Indices


def partition(
    labels: Indices,
    native_splits: Mapping[SplitName, range | Indices],
    class_names: tuple[str, ...],
    settings: SplitSettings,
) -> dict[SplitName, SplitIndices]:
    """Return the three splits.

    The source's own validation and test splits are used as they are. A missing split is taken from the training
    images, stratified by class: first the test split, then the validation split.

    Args:
        labels: Labels of all images of the source, int64 [N].
        native_splits: Positions of the images in each of the source's own splits; contains "train".
        class_names: Class names in the order of the labels.
        settings: Fractions, size limits and seed.

    Raises:
        DataError: A class has too few images, or a size limit is below the number of classes.
    """
    chosen: dict[SplitName, Indices] = {name: np.asarray(positions) for name, positions in native_splits.items()}
    _check_every_class(labels[chosen["train"]], class_names)
    fractions: dict[SplitName, float] = {"test": settings.test_fraction, "validation": settings.validation_fraction}
    for name, fraction in fractions.items():
        if name not in chosen:
            chosen["train"], chosen[name] = _split_off_fraction(
                chosen["train"],
                labels,
                class_names,
                fraction=fraction,
                field=f"data.{name}_fraction",
                seed=settings.split_seed,
            )
    limits: dict[SplitName, int | None] = {
        "train": settings.max_train_images,
        "validation": settings.max_validation_images,
    }
    for name, limit in limits.items():
        if limit is not None and limit < len(chosen[name]):
            chosen[name] = _limit(
                chosen[name], labels, limit, field=f"data.max_{name}_images", seed=settings.split_seed
            )
    ordered = {name: np.sort(chosen[name]).astype(np.int64) for name in SPLIT_NAMES}
    return {name: SplitIndices(indices=indices, labels=labels[indices]) for name, indices in ordered.items()}


def _split_off_fraction(
    pool: Indices, labels: Indices, class_names: tuple[str, ...], *, fraction: float, field: str, seed: int
) -> tuple[Indices, Indices]:
    """Split `pool` into a remainder and a stratified sample that both contain every class."""
    size = math.ceil(fraction * len(pool))
    if min(size, len(pool) - size) < len(class_names):
        raise DataError(
            f"{fraction:g} of {len(pool)} images splits off {size} and leaves {len(pool) - size}; both parts need at "
            f"least one image of each of the {len(class_names)} classes; add images or change the fraction",
            code="data.too_few_images_to_split",
            field=field,
        )
    counts = np.bincount(labels[pool], minlength=len(class_names))
    if counts.min() >= 2:
        remainder, sample = split_off(pool, labels[pool], size, seed)
        if all(np.bincount(labels[part], minlength=len(class_names)).min() > 0 for part in (remainder, sample)):
            return remainder, sample
    smallest = int(counts.argmin())
    raise DataError(
        f"class '{class_names[smallest]}' has too few images ({counts[smallest]}) to split off {fraction:g} of them; "
        "add images of this class or change the fraction",
        code="data.class_too_small_to_split",
        field=field,
    )


def _limit(pool: Indices, labels: Indices, limit: int, *, field: str, seed: int) -> Indices:
    """Return a stratified sample of `limit` images of `pool` that contains every class."""
    num_classes = len(np.unique(labels[pool]))
    if limit < num_classes:
        raise DataError(
            f"{limit} is below the number of classes; use at least {num_classes}",
            code="data.limit_below_classes",
            field=field,
        )
    return subsample(pool, labels, limit, seed)


def _check_every_class(labels: Indices, class_names: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() == 0:
        names = ", ".join(f"'{class_names[label]}'" for label in np.flatnonzero(counts == 0)[:5])
        raise DataError(
            f"no training image of class {names}; add images or remove the class",
            code="data.class_without_images",
            field="data.source",
        )


def write_splits(path: Path, splits: Mapping[SplitName, SplitIndices]) -> None:
    """Write the splits to the `.npz` file `path`, atomically.

    Raises:
        RunError: The file cannot be written.
    """
    arrays: dict[str, Indices] = {}
    for name, split in splits.items():
        arrays[name] = split.indices
        arrays[f"{name}_labels"] = split.labels

    def write(temporary: Path) -> None:
        # Through a stream: given a path, NumPy would append ".npz" to the temporary name.
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    write_atomic(path, write)


def read_splits(path: Path) -> dict[SplitName, SplitIndices]:
    """Return the splits in the `.npz` file `path`.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: SplitIndices(indices=arrays[name], labels=arrays[f"{name}_labels"]) for name in SPLIT_NAMES}
    except DAMAGED_ARRAY as error:
        raise RunError(
            f"cannot be read as a split file ({error}); delete it and resume the search to write it again",
            code="data.damaged_splits",
            field=str(path),
        ) from error
