"""The report as Markdown, for an issue, a mail or a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nas_distill.report.content import ReportContent, Row, rows
from nas_distill.report.sections.facts import pick_text, run_facts
from nas_distill.report.sections.section import Section
from nas_distill.report.sections.usage import how_to_use
from nas_distill.report.tables import FRONT_COLUMNS, Column, with_objectives


def render_markdown(content: ReportContent, sections: Sequence[Section]) -> str:
    """Return the report as GitHub-flavoured Markdown.

    Args:
        content: Values of the report.
        sections: Sections between the front and the description of the run.
    """
    parts = [f"# {_escaped(content.name)}", _escaped(content.decision.headline.sentence)]
    if content.decision.headline.command is not None:
        parts.append(f"    {content.decision.headline.command}")
    parts.append("## Picks")
    parts.append(
        "\n".join(f"- **{_escaped(pick.title)}**: {_escaped(pick_text(pick, content.front))}" for pick in content.picks)
    )
    usage = how_to_use(content)
    if usage is not None:
        parts += [f"## Use trial {usage.number}", f"    {usage.command}", f"```python\n{usage.lines}```"]
    if len(content.front.members):
        columns = with_objectives(FRONT_COLUMNS, content)
        parts += ["## Pareto front", _table(columns, rows(content.front.members))]
    for section in sections:
        parts += _section(section)
    facts = (
        f"- **{fact.term}**: {_escaped(fact.text)}" + (f"; {_escaped(fact.note)}" if fact.note else "")
        for fact in run_facts(content)
    )
    parts += ["## Run", "\n".join(facts)]
    failed = [row for row in rows(content.trials) if row["error"]]
    if failed:
        lines = (f"- trial {row['number']}: {_escaped(row['error'])}" for row in failed)
        parts += ["## Failed trials", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    table = _plain_table(section.columns, section.lines)
    parts = (f"## {section.title}", _list(section.lead), table, _list((*section.failures, *section.notes)))
    return [part for part in parts if part]


def _plain_table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of texts; empty without rows."""
    if not lines:
        return ""
    head = [_line(_escaped(title) for title in titles), _line(":---" for _ in titles)]
    return "\n".join([*head, *(_line(_escaped(cell) for cell in line) for line in lines)])


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {_escaped(text)}" for text in texts)


def _table(columns: Sequence[Column], lines: Iterable[Row]) -> str:
    head = _line(_escaped(column.title) for column in columns)
    rule = _line("---:" if column.numeric else ":---" for column in columns)
    return "\n".join([head, rule, *(_line(_escaped(column.text(row)) for column in columns) for row in lines)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return text on one line with all Markdown syntax escaped."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|":
        flat = flat.replace(sign, f"\\{sign}")
    return flat
