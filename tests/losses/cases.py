"""Loops over many cases inside one test: a failure names its case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def case(*parts: object) -> Iterator[None]:
    """Add the name of a case to the error that fails the test."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in case: {', '.join(map(str, parts))}")
        raise
