from __future__ import annotations

import pytest

from nas_distill.errors import ConfigError, first_line, one_line


@pytest.mark.parametrize(
    ("error", "first", "whole"),
    [
        (ValueError("  no such\n  width "), "no such", "ValueError: no such width"),
        (KeyError(), "KeyError", "KeyError"),
        (RuntimeError("\n\n"), "RuntimeError", "RuntimeError"),
        (ConfigError("seed: -1 must be at least 0"), "seed: -1 must be at least 0", "seed: -1 must be at least 0"),
        (ConfigError(""), "ConfigError", "ConfigError"),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, first: str, whole: str) -> None:
    assert first_line(error) == first
    assert one_line(error) == whole


def test_a_long_error_is_cut() -> None:
    assert one_line(OSError("x" * 1000)) == "OSError: " + "x" * 300
