"""A part of the report as people read it, shown the same way on the page, as text and on a terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the report.

    Attributes:
        title: Its heading.
        lead: Sentences before the table.
        caption: What the table shows; empty where the heading says it.
        columns: Heads of the table.
        lines: Cells of each row, as `columns`; none for no table.
        texts: Columns that are read as text, not as numbers.
        marked: Rows that stand out, by index.
        failures: What is missing from the table because it failed.
        notes: What the numbers mean and how far to trust them.
    """

    title: str
    lead: tuple[str, ...] = ()
    caption: str = ""
    columns: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()
    texts: frozenset[str] = frozenset()
    marked: frozenset[int] = frozenset()
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
