"""The table that `nas_distill doctor` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_distill.diagnostics import Check, CheckStatus

_COLOURS = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}


def print_checks(checks: Iterable[Check]) -> None:
    """Print one row per check: its name, its status, what was found, and the fix of a problem."""
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        found = Text(check.finding)
        if check.fix:
            found.append(f"\n-> {check.fix}", style="italic")
        table.add_row(check.name, Text(check.status.value, style=_COLOURS[check.status]), found)
    Console().print(table)
