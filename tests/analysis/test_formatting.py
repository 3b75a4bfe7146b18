from __future__ import annotations

from math import nan

import pytest

from nas_distill.analysis.formatting import (
    MINUS,
    MISSING,
    duration,
    percent,
    quantity,
    short_bytes,
    short_count,
    signed,
    size_text,
)
from nas_distill.objectives import get_objective


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1.00k"),
        (9574, "9.57k"),
        (9996, "10.0k"),
        (24_310, "24.3k"),
        (999_600, "1.00M"),
    ],
)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert short_count(value) == text


def test_bytes_have_a_decimal_prefix() -> None:
    assert (short_bytes(950), short_bytes(97_312)) == ("950 B", "97.3 kB")


@pytest.mark.parametrize(
    ("value", "text"), [(0.834, "+0.83"), (-1.1, f"{MINUS}1.10"), (-0.001, "0.00"), (0.005001, "+0.01")]
)
def test_signed_numbers_have_a_sign_except_at_zero(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.44, "8.4 s"),
        (59.96, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3599.7, "1 h 00 min"),
        (18_240, "5 h 04 min"),
        (nan, MISSING),
    ],
)
def test_durations_have_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("gap_points", 0.834, "+0.83 points"),
        ("num_params", 24_310, "24.3k parameters"),
        ("macs", 1_240_000, "1.24M MACs"),
        ("size_bytes", 97_312, "97.3 kB"),
        ("agreement", 0.9721, "97.2 %"),
        ("divergence_nats", 0.04567, "0.046 nats"),
        ("gap_points", nan, MISSING),
    ],
)
def test_quantities_carry_their_unit(name: str, value: float, text: str) -> None:
    assert quantity(get_objective(name), value) == text


def test_sizes_carry_the_unit_of_their_column() -> None:
    texts = [size_text(size, 97_312) for size in ("num_params", "macs", "size_bytes", "latency_ms")]
    assert texts == ["97.3k parameters", "97.3k MACs", "97.3 kB", "9.73e+04 ms"]
    assert size_text("latency_ms", 1.2) == "1.2 ms"


def test_shares_have_three_digits() -> None:
    assert (percent(0.0115), percent(0.372), percent(1.0)) == ("1.15 %", "37.2 %", "100 %")
