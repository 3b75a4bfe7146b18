"""Time of one image in several formats, measured side by side on one CPU thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nas_distill.inference.classifier import Classifier
from nas_distill.records.export import LatencyRecord

ROUNDS = 15
_MIN_BLOCK_S = 0.02


def measure_latencies(classifiers: Mapping[str, Classifier]) -> dict[str, LatencyRecord]:
    """Return the time of one image for each classifier.

    The rounds are interleaved, so that a busy moment of the machine hits all classifiers alike. Each round is a block
    of at least 20 ms.

    Args:
        classifiers: Classifiers with one thread each; torch is limited to one while they are measured.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return _measure({name: _call(one) for name, one in classifiers.items()})
    finally:
        torch.set_num_threads(threads)


def _call(classifier: Classifier) -> Callable[[], Tensor]:
    one = classifier.interface
    image = torch.zeros(1, one.channels, one.image_size, one.image_size)
    return lambda: classifier.forward(image)


def _measure(calls: Mapping[str, Callable[[], Tensor]]) -> dict[str, LatencyRecord]:
    repeats = {}
    for name, call in calls.items():
        call()  # a first call allocates memory and chooses kernels
        repeats[name] = max(1, round(_MIN_BLOCK_S / max(_block_s(call, 3), 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            found[name].append(1e3 * _block_s(call, repeats[name]))
    return {name: _summary(times) for name, times in found.items()}


def _block_s(call: Callable[[], Tensor], repeats: int) -> float:
    """Return the mean time of a call in a block of calls, seconds."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def _summary(times_ms: list[float]) -> LatencyRecord:
    low, median, high = np.quantile(times_ms, [0.25, 0.5, 0.75])
    return LatencyRecord(median_ms=float(median), iqr_ms=float(high - low))
