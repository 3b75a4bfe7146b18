"""`nas_distill doctor`: check this machine and its packages."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.errors import InstallationError


@click.command(short_help="Check this machine and its packages.")
@click.option("--ray", "with_ray", is_flag=True, help="Also start a local Ray and run one task (up to a minute).")
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False), default=".", show_default=True,
    help="Folder of future runs, to check its disk and file locks.",
)  # fmt: skip
@click.option("--address", help="Also join this Ray cluster (auto or HOST:PORT) and check each node, as a search does.")
def command(with_ray: bool, folder: str, address: str | None) -> None:
    """Check Python, packages, GPUs, memory, disk, SQLite and Ray. Exits with 7 if a check fails."""
    from nas_distill.cli.display.checks import print_checks
    from nas_distill.diagnostics import CheckStatus, run_checks

    checks = tuple(run_checks(Path(folder), with_ray=with_ray, address=address))
    print_checks(checks)
    failed = [check.name for check in checks if check.status is CheckStatus.FAIL]
    if failed:
        raise InstallationError(
            f"failed: {', '.join(failed)}; follow the lines marked ->", code="cli.machine_check_failed"
        )
