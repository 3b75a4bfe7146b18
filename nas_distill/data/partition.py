"""Which image plays which role: deterministic stratified splits, and their file."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_distill.data.manifest import SPLIT_NAMES, SplitName, SplitSettings
from nas_distill.errors import DataError, RunError
from nas_distill.run_directory.files import write_atomic

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """One split of a source.

    Attributes:
        indices: int64 [N], ascending positions in the source.
        labels: int64 [N], their labels.
    """

    indices: Indices
    labels: Indices


def partition(
    labels: Indices, native_splits: Mapping[SplitName, range], class_names: tuple[str, ...], settings: SplitSettings
) -> dict[SplitName, Split]:
    """Returns the three splits.

    What the source offers as validation or test keeps that role; what it does not offer is taken from its
    training images, stratified by class: the test split first, then the validation split.

    Args:
        labels: int64 [N], of all images of the source.
        native_splits: Positions of the images that the source itself files under a split; "train" at least.
        class_names: In the order of the labels.
        settings: What decides the splits.

    Raises:
        DataError: A class has too few images, or a cap is below the number of classes.
    """
    chosen: dict[SplitName, Indices] = {name: np.asarray(positions) for name, positions in native_splits.items()}
    _check_every_class(labels[chosen["train"]], class_names)
    fractions: dict[SplitName, float] = {
        "test": settings.test_fraction,
        "validation": settings.validation_fraction,
    }
    for name, fraction in fractions.items():
        if name not in chosen:
            chosen["train"], chosen[name] = _set_aside(
                chosen["train"],
                labels,
                class_names,
                fraction=fraction,
                field=f"data.{name}_fraction",
                seed=settings.split_seed,
            )
    caps: dict[SplitName, int | None] = {
        "train": settings.max_train_images,
        "validation": settings.max_validation_images,
    }
    for name, cap in caps.items():
        if cap is not None and cap < len(chosen[name]):
            chosen[name] = _capped(chosen[name], labels, cap, f"data.max_{name}_images", settings.split_seed)
    ordered = {name: np.sort(chosen[name]).astype(np.int64) for name in SPLIT_NAMES}
    return {name: Split(indices=indices, labels=labels[indices]) for name, indices in ordered.items()}


def _set_aside(
    pool: Indices, labels: Indices, class_names: tuple[str, ...], *, fraction: float, field: str, seed: int
) -> tuple[Indices, Indices]:
    """Returns `pool` without, and with only, a stratified share of it; both hold every class."""
    aside = math.ceil(fraction * len(pool))
    if min(aside, len(pool) - aside) < len(class_names):
        raise DataError(
            f"{field}: {fraction:g} of {len(pool)} images sets {aside} aside and keeps {len(pool) - aside}; "
            f"both need one of each of the {len(class_names)} classes; add images or change the fraction"
        )
    counts = np.bincount(labels[pool], minlength=len(class_names))
    if counts.min() < 2:
        _reject_small_class(counts, class_names, field, fraction)
    from sklearn.model_selection import train_test_split  # a second of importing that no worker needs

    kept, held = train_test_split(pool, test_size=aside, stratify=labels[pool], random_state=seed % 2**32)
    for part in (kept, held):
        if np.bincount(labels[part], minlength=len(class_names)).min() == 0:
            _reject_small_class(counts, class_names, field, fraction)
    return kept, held


def _reject_small_class(counts: Indices, class_names: tuple[str, ...], field: str, fraction: float) -> None:
    smallest = int(counts.argmin())
    raise DataError(
        f"{field}: class '{class_names[smallest]}' has too few images left ({counts[smallest]}) to set "
        f"{fraction:g} of them aside and keep some; add images of it or change the fraction"
    )


def _capped(pool: Indices, labels: Indices, cap: int, field: str, seed: int) -> Indices:
    """Returns `cap` images of `pool` with its class shares, each class at least once."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(pool)
    classes, members, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    if cap < len(classes):
        raise DataError(f"{field}: {cap} is below the number of classes, {len(classes)}; give at least {len(classes)}")
    by_class = np.argsort(members, kind="stable")
    rank = np.empty(len(pool), dtype=np.int64)
    rank[by_class] = np.arange(len(pool)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Ordered by the share of its class that each image stands at, any prefix is stratified.
    position = np.where(rank == 0, 0.0, (rank + 0.5) / counts[members])
    taken: Indices = shuffled[np.argsort(position, kind="stable")[:cap]]
    return taken


def _check_every_class(labels: Indices, class_names: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() == 0:
        names = ", ".join(f"'{class_names[label]}'" for label in np.flatnonzero(counts == 0)[:5])
        raise DataError(f"class {names} has no training image; add some or remove the class")


def write_splits(path: Path, splits: Mapping[SplitName, Split]) -> None:
    """Writes the splits to the `.npz` file `path`, atomically."""
    arrays: dict[str, Indices] = {}
    for name, split in splits.items():
        arrays[name] = split.indices
        arrays[f"{name}_labels"] = split.labels

    def write(temporary: Path) -> None:
        # Through a stream: given a path, NumPy would add ".npz" to the temporary name.
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    write_atomic(path, write)


def read_splits(path: Path) -> dict[SplitName, Split]:
    """Returns the splits in the `.npz` file `path`.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: Split(indices=arrays[name], labels=arrays[f"{name}_labels"]) for name in SPLIT_NAMES}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: is no readable split file ({error}); restore it or start a new run") from error
