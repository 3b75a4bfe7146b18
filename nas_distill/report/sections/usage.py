"""How to use the student that a report recommends."""

from __future__ import annotations

from dataclasses import dataclass

from nas_distill.analysis.decision.commands import export_command
from nas_distill.export.snippets import student_lines
from nas_distill.report.content import ReportContent


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How to use a student.

    Attributes:
        number: Trial number of the student.
        command: Command that exports it.
        lines: Lines of Python that classify an image with it.
    """

    number: int
    command: str
    lines: str


def how_to_use(content: ReportContent) -> Usage | None:
    """Return how to use the recommended student, or the closest one; None without students."""
    headline = content.decision.headline
    number = headline.closest if headline.number is None else headline.number
    if number is None:
        return None
    return Usage(
        number=number, command=export_command(content.run, number), lines=student_lines(content.run, str(number))
    )
