"""The counter-based hash, against NumPy's uint64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.data.views.random_bits import TABLE_SIZE, derive_bits, quantile_table, take_below, take_bits, view_bits
from tests.data.views import reference_views as reference

SIGNED = st.integers(-(2**63), 2**63 - 1)


def test_splitmix_starts_with_the_published_sequence() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, from Vigna's reference (splitmix64.c).
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [reference.output(1234567, number) for number in (1, 2, 3)] == expected
    assert [int(derive_bits(torch.tensor([1234567]), number)) % 2**64 for number in (1, 2, 3)] == expected


@given(
    indices=st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    view=st.integers(0, 2**31),
    seed=st.integers(0, 2**70),
)
def test_bits_match_unsigned_arithmetic(indices: list[int], view: int, seed: int) -> None:
    bits = view_bits(torch.tensor(indices), view, seed)
    expected = reference.hashed(np.array(indices, dtype=np.int64), view, seed)
    assert bits.numpy().view(np.uint64).tolist() == expected.tolist()


@given(bits=SIGNED, number=st.integers(1, 100))
def test_derived_bits_are_outputs_of_a_generator_seeded_with_the_bits(bits: int, number: int) -> None:
    found = int(derive_bits(torch.tensor([bits]), number)) % 2**64
    assert found == reference.output(bits % 2**64, number)


@given(bits=SIGNED, start=st.integers(0, 60), width=st.integers(1, 24))
def test_taken_bits_match_unsigned_shifts(bits: int, start: int, width: int) -> None:
    width = min(width, 64 - start)
    assert int(take_bits(torch.tensor([bits]), start, width)) == (bits % 2**64 >> start) % 2**width


@given(bits=SIGNED, limit=st.integers(1, 2**31))
def test_numbers_below_a_limit(bits: int, limit: int) -> None:
    found = int(take_below(torch.tensor([bits]), limit))
    assert found == (bits % 2**64 >> 1) % limit


def test_the_table_holds_the_function_at_evenly_spaced_midpoints() -> None:
    table = quantile_table(lambda share: 3 * share, bits=16)
    assert table.shape == (TABLE_SIZE,)
    assert table[0] == pytest.approx(1.5 / TABLE_SIZE, abs=2**-17)
    assert table.mean() == pytest.approx(1.5)
    assert torch.equal(table * 2**16, (table * 2**16).round())
