"""Stratified sampling: split off a fraction, subsample, and K folds. Every result depends on its arguments only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.errors import ConfigError

Indices = NDArray[np.int64]

# scikit-learn is imported where it is used: the import takes a second, and worker processes read the stored splits.


def split_off(positions: Indices, labels: Indices, size: int, seed: int) -> tuple[Indices, Indices]:
    """Split `positions` into a remainder and a stratified sample.

    Args:
        positions: Positions to divide, int64 [M].
        labels: Labels of these positions, int64 [M]; at least two of each class that occurs.
        size: Size of the sample; sample and remainder each have room for one image per class.
        seed: Random seed, any non-negative integer.

    Returns:
        Remainder, int64 [M - size], and sample, int64 [size], both in random order. A rare class may be missing from
        either.
    """
    from sklearn.model_selection import train_test_split

    remainder, sample = train_test_split(positions, test_size=size, stratify=labels, random_state=seed % 2**32)
    return remainder, sample


def subsample(positions: Indices, labels: Indices, size: int, seed: int) -> Indices:
    """Return a stratified sample that holds every class at least once.

    With the same seed, a smaller sample is a subset of a larger one. scikit-learn offers neither property:
    `train_test_split` and `utils.resample` may drop a rare class, `train_test_split` also rejects classes of one image
    and sizes close to M, and their samples of different sizes are not nested.

    Args:
        positions: Positions to choose from, int64 [M].
        labels: Labels of all images, indexed by position.
        size: Size of the sample, from the number of classes to M.
        seed: Random seed.

    Returns:
        int64 [size], in random order.
    """
    shuffled = np.random.default_rng(seed).permutation(positions)
    _, members, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    # Rank of each image within its class.
    by_class = np.argsort(members, kind="stable")
    rank = np.empty(len(positions), dtype=np.int64)
    rank[by_class] = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Sorted by relative rank within the class, every prefix is stratified; the first image of each class comes first.
    relative_rank = np.where(rank == 0, 0.0, (rank + 0.5) / counts[members])
    sample: Indices = shuffled[np.argsort(relative_rank, kind="stable")[:size]]
    return sample


def k_folds(labels: Tensor, count: int, seed: int) -> tuple[Tensor, ...]:
    """Return the held-out positions of each fold of a stratified K-fold cross-validation (Kohavi 1995).

    The folds are disjoint and cover all images. Two folds differ by at most one image, overall and per class.

    Args:
        labels: Class labels, int64 [N].
        count: Number of folds K, at least 2.
        seed: Seed of the shuffle within each class.

    Returns:
        K tensors of sorted positions, int64.

    Raises:
        ConfigError: A class has fewer images than there are folds.
    """
    check_k_folds(labels, count)
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(n_splits=count, shuffle=True, random_state=seed)
    return tuple(torch.from_numpy(held_out) for _, held_out in folds.split(torch.zeros(len(labels)), labels.numpy()))


def check_k_folds(labels: Tensor, count: int) -> None:
    """Check that every class has at least one image for each fold.

    Args:
        labels: Class labels, int64 [N].
        count: Number of folds K, at least 2.

    Raises:
        ConfigError: A class has fewer images than there are folds.
    """
    counts = torch.bincount(labels)
    smallest = int(counts[counts > 0].min())
    if smallest >= count:
        return
    label = int((counts == smallest).nonzero()[0])
    fix = f"use at most {smallest} folds" if smallest > 1 else "leave --folds out or add images of this class"
    raise ConfigError(
        f"{count} folds need {count} training images of every class, but class number {label} has {smallest}; {fix}",
        code="data.too_few_images_for_folds",
        field="picks.folds",
    )
