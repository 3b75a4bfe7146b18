"""A section of the report, independent of the page, the Markdown text and the terminal that show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of the report.

    Attributes:
        title: Heading of the section.
        lead: Sentences before the table.
        caption: Caption of the table; may be empty.
        columns: Headings of the table.
        lines: Cells of each row, in the order of `columns`; empty for no table.
        texts: Headings of the columns with text; all others are aligned as numbers.
        marked: Indices of the highlighted rows.
        failures: Failed trainings, which the table lacks.
        notes: Method and limits of the numbers.
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
