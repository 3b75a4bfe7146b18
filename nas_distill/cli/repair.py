"""`nas_distill repair RUN`: find what is damaged in a run, and restore what can be restored."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.errors import RunError


@click.command(short_help="Find and restore damaged files of a run, such as its study.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Check every file of a run that decides a result, and restore what can be restored.

    The study (study.db) is built again from trials/, a trial's record is restored from the study. Damaged images,
    splits and outputs of the teacher are set aside, and `search --resume` makes them again. Nothing is trained.

    Exit status 0: everything is intact or restored. 6: a file is lost that the run needs.
    """
    from nas_distill.search.repair.run import repair_run

    repair = repair_run(run)
    for finding in repair.findings:
        click.echo(f"{finding.path}: {finding.problem} -> {finding.action}")
    if repair.study is not None and repair.study.without_parameters:
        numbers = ", ".join(map(str, repair.study.without_parameters))
        click.echo(f"The sampler learns nothing from trials {numbers}: their lines in trials/study.jsonl are lost.")
    if repair.lost:
        names = ", ".join(str(finding.path) for finding in repair.lost)
        raise RunError(
            f"cannot be restored: {names}; restore it from a backup, or start again with another --out",
            code="run.not_repairable",
            field=str(run),
        )
    if not repair.findings:
        click.echo(f"{run}: nothing is damaged.")
    else:
        click.echo(f"Continue with: python -m nas_distill search --resume {run}")
