"""Random bits that depend on (seed, image index, view index) only.

A counter-based hash built from SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators", doi:10.1145/2660193.2660195). int64 arithmetic wraps modulo 2^64 on every device, so results are
bit-identical on all devices.
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
"""Number of levels of every random strength. Functions of the bits that are not linear (sines, quantiles) are looked up
in a table of this length, computed once on the host: computed on a device, they would differ between devices."""


def view_bits(indices: Tensor, view: int, seed: int) -> Tensor:
    """Return 64 random bits per image: SplitMix64(SplitMix64(SplitMix64(seed) + index) + view).

    Args:
        indices: Image indices, int64 [B].
        view: View number.
        seed: Any non-negative number; used modulo 2^64.

    Returns:
        int64 [B] with the bits of the unsigned result.
    """
    start = (_mix_number(seed & _MASK) + _GOLDEN) & _MASK
    keys = _mix(indices + _signed(start))
    return _mix(keys + _signed((view + _GOLDEN) & _MASK))


def derive_bits(bits: Tensor, stream: int) -> Tensor:
    """Return 64 further random bits per image: output number `stream` of SplitMix64 seeded with `bits`.

    Args:
        bits: Random bits, int64 [B], from `view_bits`.
        stream: Number of the output, at least 1; each random decision uses its own.
    """
    return _mix(bits + _signed(stream * _GOLDEN & _MASK))


def take_bits(bits: Tensor, start: int, width: int) -> Tensor:
    """Return the `width` bits that begin at bit `start` as a non-negative number, int64 [B]."""
    return (bits >> start) & ((1 << width) - 1)


def take_below(bits: Tensor, limit: int) -> Tensor:
    """Return a number from 0 to `limit` - 1 made of the upper 63 bits, int64 [B]; its bias is below limit / 2^63."""
    return _shift_right(bits, 1) % limit


def quantile_table(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, bits: int) -> Tensor:
    """Return `function` at the midpoints of `TABLE_SIZE` equal intervals of [0, 1], rounded to multiples of 2^-bits.

    The values are rounded because the last digit of a sine differs between the math libraries of two hosts.

    Args:
        function: Function of float64 [TABLE_SIZE]. With an inverse cumulative distribution, a random index into the
            table draws from that distribution.
        bits: Number of binary places to keep.

    Returns:
        float64 [TABLE_SIZE] on the CPU.
    """
    middles = (np.arange(TABLE_SIZE, dtype=np.float64) + 0.5) / TABLE_SIZE
    return torch.from_numpy(np.ldexp(np.rint(np.ldexp(function(middles), bits)), -bits))


def _signed(value: int) -> int:
    """Return the int64 with the bits of the uint64 `value`."""
    return value - (1 << 64) if value >> 63 else value


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Shift right logically; the shift of an int64 copies the sign bit."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """Apply the finaliser of SplitMix64 to int64 `bits`."""
    bits = (bits ^ _shift_right(bits, 30)) * _signed(_MIX_1)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(_MIX_2)
    return bits ^ _shift_right(bits, 31)


def _mix_number(seed: int) -> int:
    """Return SplitMix64(seed): `_mix` after the golden-ratio step, for a Python integer."""
    bits = (seed + _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * _MIX_1) & _MASK
    bits = ((bits ^ (bits >> 27)) * _MIX_2) & _MASK
    return bits ^ (bits >> 31)
