"""`nas_distill pareto RUN...`: print the Pareto fronts of runs, filtered, thinned and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nas_distill.errors import ConfigError


@click.command(short_help="Print the Pareto front of runs, filtered and compared.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--objectives", metavar="NAMES", help="Two to four objectives, comma-separated.  [default: the runs' own]"
)
@click.option("--where", metavar="CONDITION", help="Filter, such as 'gap_points < 1 and num_params <= 1e5'.")
@click.option(
    "--epsilon",
    multiple=True,
    metavar="NAME=VALUE",
    help="Thin the front: ignore differences up to VALUE, in the objective's unit; for costs a ratio (0.1 = 10 %).",
)
@click.option("--all", "everything", is_flag=True, help="Print all matching students, not only the front.")
@click.option(
    "--format", "form", type=click.Choice(("table", "csv", "json")), default="table", show_default=True,
    help="Output format. CSV and JSON print notes to standard error.",
)  # fmt: skip
def command(
    runs: tuple[Path, ...],
    objectives: str | None,
    where: str | None,
    epsilon: tuple[str, ...],
    *,
    everything: bool,
    form: str,
) -> None:
    """Print the joint Pareto front of the fully trained students of one or more runs.

    Several runs are also compared with each other. Reads only configurations and studies.

    \b
    Examples:
      python -m nas_distill pareto runs/digits
      python -m nas_distill pareto runs/digits --where "macs < 1e6 and gap_points < 1" --format csv
      python -m nas_distill pareto runs/seed0 runs/seed1 runs/seed2 --epsilon gap_points=0.5
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    allowed = _tolerances(epsilon)
    if everything and allowed:
        raise ConfigError(
            "cannot be combined; give one of them", code="cli.conflicting_options", field="--all, --epsilon"
        )

    from nas_distill.report.listing import list_students

    listing = list_students(
        runs,
        objectives=None if objectives is None else [name.strip() for name in objectives.split(",")],
        where=where,
        epsilon=allowed,
        everything=everything,
    )
    if form == "table":
        from nas_distill.cli.display.tables import print_tables

        print_tables(listing)
    else:
        from nas_distill.cli.display.listing import print_listing

        print_listing(listing, form)


def _tolerances(texts: Sequence[str]) -> dict[str, float]:
    """Return the values of --epsilon by objective."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise ConfigError(
                f"'{text}' is not NAME=VALUE; write, for example, --epsilon gap_points=0.5",
                code="cli.not_a_pair",
                field="--epsilon",
            )
        if name in found:
            raise ConfigError(f"{name} is given twice; give it once", code="cli.given_twice", field="--epsilon")
        try:
            found[name] = float(number)
        except ValueError:
            raise ConfigError(
                f"'{number}' is not a number; write, for example, {name}=0.5",
                code="cli.not_a_number",
                field="--epsilon",
            ) from None
    return found
