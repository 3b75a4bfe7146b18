"""A part of the report as people read it, shown the same way on the page, as text and on a terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the report.

    Attributes:
        title: Its heading.
        lead: Sentences before the table.
        columns: Heads of the table.
        lines: Cells of each row, as `columns`; none for no table.
        texts: Columns that are read as text, not as numbers.
        notes: What the numbers mean and how far to trust them.
    """

    title: str
    lead: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()
    texts: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
