"""`nas_distill doctor`: can this machine do the work?"""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.errors import InstallationError


@click.command(short_help="Check this machine and its packages.")
@click.option("--ray", "with_ray", is_flag=True, help="Also start a local Ray and run one task (up to a minute).")
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False), default=".", show_default=True,
    help="Where runs will lie; its disk and file locks are tested.",
)  # fmt: skip
def command(with_ray: bool, folder: str) -> None:
    """Checks Python, packages, GPUs, memory, disk, SQLite and Ray; exits with 7 when one of them fails."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nas_distill.diagnostics import CheckStatus, run_checks

    colours = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}
    checks = []
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in run_checks(Path(folder), with_ray=with_ray):
        checks.append(check)
        found = Text(check.finding)
        if check.fix:
            found.append(f"\n-> {check.fix}", style="italic")
        table.add_row(check.name, Text(check.status.value, style=colours[check.status]), found)
    Console().print(table)
    failed = [check.name for check in checks if check.status is CheckStatus.FAIL]
    if failed:
        raise InstallationError(f"failed: {', '.join(failed)}; the lines marked -> say what to do")
