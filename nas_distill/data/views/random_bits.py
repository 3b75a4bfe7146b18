"""Random bits that are a function of (seed, image index, view index) and of nothing else.

A counter-based hash made of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators", doi:10.1145/2660193.2660195). int64 arithmetic wraps modulo 2^64 on every device, so that all of this
is bit-identical on all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

INDEX_BITS = 12
TABLE_SIZE = 1 << INDEX_BITS
"""Levels of every drawn strength. Whatever is not linear in the bits (angles, quantiles) is looked up in a table of
this length, made once on the host: sines and quantiles computed on a device would differ from device to device."""


def view_bits(indices: Tensor, view: int, seed: int) -> Tensor:
    """Returns 64 random bits for each image: SplitMix64(SplitMix64(SplitMix64(seed) + index) + view).

    Args:
        indices: int64 [B].
        view: View number.
        seed: Any non-negative number; taken modulo 2^64.

    Returns:
        int64 [B] holding the bits of the unsigned result.
    """
    start = (_mix_number(seed & _MASK) + _GOLDEN) & _MASK
    keys = _mix(indices + _signed(start))
    return _mix(keys + _signed((view + _GOLDEN) & _MASK))


def derive_bits(bits: Tensor, number: int) -> Tensor:
    """Returns 64 further bits for each image: output `number`, from 1, of SplitMix64 started at `bits`.

    Args:
        bits: int64 [B], of `view_bits`.
        number: Which output.
    """
    return _mix(bits + _signed(number * _GOLDEN & _MASK))


def take_bits(bits: Tensor, start: int, width: int) -> Tensor:
    """Returns `width` of 64 bits from bit `start` on, as a number from 0; int64 [B]."""
    return (bits >> start) & ((1 << width) - 1)


def take_below(bits: Tensor, limit: int) -> Tensor:
    """Returns a number from 0 to `limit`-1 from the upper 63 bits, int64 [B]; the bias is limit / 2^63."""
    return _shift_right(bits, 1) % limit


def quantile_table(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, bits: int) -> Tensor:
    """Returns `function` of the middles of `TABLE_SIZE` equal parts of 0 to 1, rounded to multiples of 2^-bits.

    Rounded, because the last digit of a sine differs from one host's library to the other's.

    Args:
        function: Of float64 [TABLE_SIZE]; an inverse cumulative distribution makes the table one to draw from.
        bits: Binary places that are kept.

    Returns:
        float64 [TABLE_SIZE] on the CPU.
    """
    middles = (np.arange(TABLE_SIZE, dtype=np.float64) + 0.5) / TABLE_SIZE
    return torch.from_numpy(np.ldexp(np.rint(np.ldexp(function(middles), bits)), -bits))


def _signed(value: int) -> int:
    """Returns the int64 with the bits of the uint64 `value`."""
    return value - (1 << 64) if value >> 63 else value


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Returns the logical shift; int64 shifts copy the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """Returns SplitMix64's finaliser of int64 `bits`."""
    bits = (bits ^ _shift_right(bits, 30)) * _signed(_MIX_1)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(_MIX_2)
    return bits ^ _shift_right(bits, 31)


def _mix_number(seed: int) -> int:
    """Returns SplitMix64(seed), the same as `_mix` after the golden-ratio step, on a Python number."""
    bits = (seed + _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * _MIX_1) & _MASK
    bits = ((bits ^ (bits >> 27)) * _MIX_2) & _MASK
    return bits ^ (bits >> 31)
