"""Timing: rounds are interleaved, and noise is answered by more rounds."""

from __future__ import annotations

import pytest

from nas_distill.models.costs import timing
from nas_distill.models.costs.timing import summarise, time_calls


def test_the_summary_is_median_and_interquartile_range() -> None:
    found = summarise([2.0, 4.0, 6.0, 8.0, 20.0])
    assert (found.median_ms, found.iqr_ms) == pytest.approx((6.0, 4.0))


def test_functions_take_turns_within_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(timing, "_block_s", lambda call, repeats: call() or 0.05)
    time_calls({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    measured = calls[4:]  # two first calls and two calls that choose the size of a block
    assert measured[:4] == ["a", "b", "a", "b"]
    assert measured.count("a") == measured.count("b")


def test_noisy_rounds_are_repeated_and_the_quietest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = iter([[10.0, 30.0], [4.0, 4.0]])
    monkeypatch.setattr(timing, "_block_s", lambda *_: 0.001)
    monkeypatch.setattr(timing, "_measure", lambda calls, *_: dict.fromkeys(calls, summarise(next(attempts))))
    found = time_calls({"a": lambda: None})["a"]
    assert (found.median_ms, found.iqr_ms) == (4.0, 0.0)
    assert next(attempts, None) is None


def test_a_real_function_takes_some_time() -> None:
    found = time_calls({"sum": lambda: sum(range(1000))})["sum"]
    assert found.median_ms > 0.0
    assert found.iqr_ms >= 0.0
