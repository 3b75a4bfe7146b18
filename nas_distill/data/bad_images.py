"""Images that cannot be used: all of them are found at once, and then refused or skipped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nas_distill.data.manifest import SplitName
from nas_distill.data.parallel_decode import ParallelDecoder
from nas_distill.data.pixels import find_fault
from nas_distill.errors import DataError

IMAGE_FAULTS = frozenset({"data.unreadable_image", "data.unsupported_pixels", "data.too_many_pixels"})
"""Codes of the errors that concern one image."""

_MAX_LISTED = 100

Positions = NDArray[np.int64]


def find_bad_images(decoder: ParallelDecoder) -> dict[int, DataError]:
    """Decode every image of a source, and return the error of each that cannot be used, by position."""
    source = decoder.source
    positions = np.arange(len(source.labels))
    faults = decoder.map(lambda index: find_fault(source, index), positions, "checking all images")
    return {index: fault for index, fault in zip(positions.tolist(), faults, strict=True) if fault is not None}


def refuse(faults: Mapping[int, DataError], *, total: int) -> DataError:
    """Return the error that lists all bad images.

    Args:
        faults: Error of each bad image by position; at least one.
        total: Number of images of the source.
    """
    first, *others = list(faults.values())[:_MAX_LISTED]
    if not others:
        return DataError(f"{first.args[0]}, or pass --bad-images skip", code=first.code, field=first.field)
    listed = f"; the first {_MAX_LISTED} are listed" if len(faults) > _MAX_LISTED else ""
    message = f"{first.args[0]}, or pass --bad-images skip ({len(faults):,} of {total:,} images cannot be used{listed})"
    return DataError(message, code=first.code, field=first.field, others=tuple(others))


def without(native_splits: Mapping[SplitName, range], skipped: tuple[int, ...]) -> dict[SplitName, Positions]:
    """Return the positions of the images of each split of a source, without those that are skipped."""
    return {
        name: np.setdiff1d(np.asarray(span, dtype=np.int64), np.asarray(skipped, dtype=np.int64))
        for name, span in native_splits.items()
    }
