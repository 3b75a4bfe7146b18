"""Time functions against each other in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from nas_distill.records.cost import Timing

_MIN_BLOCK_S = 0.02
_ROUNDS_S = 2.0
_MIN_ROUNDS, _MAX_ROUNDS = 5, 15
_MAX_SPREAD = 0.1
_ATTEMPTS = 3


def time_calls(calls: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
    """Return the time of one call of each function.

    In each round, every function is called for a block of at least 20 ms, so that a busy moment of the machine hits all
    functions alike. 5 to 15 rounds take about 2 s. Where the interquartile range exceeds a tenth of the median, all
    rounds are repeated, up to twice, and each function keeps the rounds with the lowest median: other processes only
    make a function slower.

    Args:
        calls: Functions by name.
    """
    repeats = {}
    cost_s = 0.0
    for name, call in calls.items():
        call()  # a first call allocates memory and chooses kernels
        once = max(_block_s(call, 3), 1e-7)
        repeats[name] = max(1, round(_MIN_BLOCK_S / once))
        cost_s += once * repeats[name]
    rounds = int(np.clip(_ROUNDS_S / cost_s, _MIN_ROUNDS, _MAX_ROUNDS))
    best: dict[str, Timing] = {}
    for _ in range(_ATTEMPTS):
        found = _measure(calls, repeats, rounds)
        best = {name: min(best.get(name, one), one, key=lambda timing: timing.median_ms) for name, one in found.items()}
        if all(one.iqr_ms <= _MAX_SPREAD * one.median_ms for one in best.values()):
            break
    return best


def _measure(calls: Mapping[str, Callable[[], object]], repeats: Mapping[str, int], rounds: int) -> dict[str, Timing]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(1e3 * _block_s(call, repeats[name]))
    return {name: summarise(values) for name, values in times.items()}


def summarise(times_ms: list[float]) -> Timing:
    """Return median and interquartile range of times in milliseconds."""
    low, median, high = np.quantile(times_ms, [0.25, 0.5, 0.75])
    return Timing(median_ms=float(median), iqr_ms=float(high - low))


def _block_s(call: Callable[[], object], repeats: int) -> float:
    """Return the mean time of a call in a block of calls, seconds."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats
