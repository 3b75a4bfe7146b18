"""The parts of the training split for K-fold cross-validation."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.errors import ConfigError


def k_folds(labels: Tensor, count: int, seed: int) -> tuple[Tensor, ...]:
    """Returns `count` disjoint parts that hold every image once, each with the class shares of the whole.

    Of each class, and in all, two parts differ by one image at most. (Stratified K-fold, Kohavi 1995, as
    scikit-learn's.)

    Args:
        labels: int64 [N].
        count: K, at least 2.
        seed: Of the shuffle within each class.

    Returns:
        K tensors int64 of positions, each sorted.

    Raises:
        ConfigError: A class has fewer images than there are parts.
    """
    check_k_folds(labels, count)
    from sklearn.model_selection import StratifiedKFold  # a second of importing that only folds need

    folds = StratifiedKFold(n_splits=count, shuffle=True, random_state=seed)
    return tuple(torch.from_numpy(held) for _, held in folds.split(torch.zeros(len(labels)), labels.numpy()))


def check_k_folds(labels: Tensor, count: int) -> None:
    """Checks that every class has an image for each of `count` parts.

    Args:
        labels: int64 [N].
        count: K, at least 2.

    Raises:
        ConfigError: One has fewer.
    """
    counts = torch.bincount(labels)
    smallest = int(counts[counts > 0].min())
    if smallest >= count:
        return
    label = int((counts == smallest).nonzero()[0])
    raise ConfigError(
        f"picks.folds: {count} folds need {count} training images of every class, and class number {label} has "
        f"{smallest}; " + (f"give at most {smallest}" if smallest > 1 else "leave --folds out, or give it more images")
    )
