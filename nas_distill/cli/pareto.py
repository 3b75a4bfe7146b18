"""`nas_distill pareto RUN...`: prints the fronts of runs, filtered, thinned and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas_distill.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from nas_distill.analysis.front.comparison import Comparison
    from nas_distill.analysis.front.front import ParetoFront
    from nas_distill.analysis.front.named_studies import NamedStudy
    from nas_distill.analysis.front.picks import Pick


@click.command(short_help="Print the Pareto front of runs, filtered and compared.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--objectives", metavar="NAMES", help="Two to four, comma separated.  [default: the runs' own]")
@click.option(
    "--where", metavar="CONDITION", help="Only students that match, such as 'gap_points < 1 and num_params <= 1e5'."
)
@click.option(
    "--epsilon",
    multiple=True,
    metavar="NAME=VALUE",
    help="Thin the front: differences up to VALUE do not count (its unit; for costs a share, 0.1 is a tenth more).",
)
@click.option("--all", "everything", is_flag=True, help="All matching students, not only the front.")
@click.option(
    "--format", "form", type=click.Choice(("table", "csv", "json")), default="table", show_default=True,
    help="CSV and JSON go to standard output, notes to standard error.",
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
    """Prints the Pareto front of the fully trained students of one run, or of several together.

    Only configurations and studies are read. Of several runs it also says how they stand to each other.

    \b
    Examples:
      python -m nas_distill pareto runs/digits
      python -m nas_distill pareto runs/digits --where "macs < 1e6 and gap_points < 1" --format csv
      python -m nas_distill pareto runs/seed0 runs/seed1 runs/seed2 --epsilon gap_points=0.5
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    names = None if objectives is None else [name.strip() for name in objectives.split(",")]
    allowed = _tolerances(epsilon)
    if everything and allowed:
        raise ConfigError("--all, --epsilon: one shows all students and the other part of the front; give one of them")

    from nas_distill.analysis.front.comparison import compare_runs
    from nas_distill.analysis.trials.filters import parse_filter
    from nas_distill.cli.display.listing import Listing, print_listing

    condition = None if where is None else parse_filter(where)
    if names is not None:
        from nas_distill.objectives import check_objectives

        check_objectives(names)
    studies = _read(runs)
    comparison = compare_runs(studies, objectives=names, where=condition)
    as_searched = condition is None and {one.name for one in comparison.objectives} == {
        one.name for one in studies[0].study.objectives
    }
    searched, picks = _picked(runs[0], studies[0]) if len(runs) == 1 and as_searched else (None, ())
    listing = Listing(
        comparison=comparison,
        students=comparison.students if everything else _thinned(comparison, allowed),
        where=None if condition is None else condition.text,
        epsilon=allowed,
        searched=searched,
        picks=picks,
    )
    if form == "table":
        from nas_distill.cli.display.tables import print_tables

        print_tables(listing)
    else:
        print_listing(listing, form)


def _read(runs: Sequence[Path]) -> tuple[NamedStudy, ...]:
    """Returns the runs' studies, called by their folders, or by their paths where two folders have one name."""
    from nas_distill.analysis.front.named_studies import NamedStudy
    from nas_distill.analysis.trials.study_reader import read_study
    from nas_distill.run_directory.layout import RunDirectory

    resolved = [run.resolve() for run in runs]
    for run, place in zip(runs, resolved, strict=True):
        if resolved.count(place) > 1:
            raise ConfigError(f"RUN {run}: is given twice; name each run once")
    shared = Counter(place.name for place in resolved)
    return tuple(
        NamedStudy(name=place.name if shared[place.name] == 1 else str(run), study=read_study(RunDirectory(run)))
        for run, place in zip(runs, resolved, strict=True)
    )


def _tolerances(texts: Sequence[str]) -> dict[str, float]:
    """Returns the values of --epsilon by name of objective."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise ConfigError(f"--epsilon {text}: is not NAME=VALUE; write, for example, --epsilon gap_points=0.5")
        if name in found:
            raise ConfigError(f"--epsilon {text}: {name} is given twice; name each objective once")
        try:
            found[name] = float(number)
        except ValueError:
            raise ConfigError(f"--epsilon {text}: '{number}' is no number; write, for example, {name}=0.5") from None
    return found


def _thinned(comparison: Comparison, allowed: dict[str, float]) -> pd.DataFrame:
    """Returns the front, or with --epsilon members that stand for all of it."""
    from nas_distill.analysis.front.arithmetic import axes
    from nas_distill.analysis.front.epsilon import epsilon_front_mask, tolerances

    front, objectives = comparison.front, comparison.objectives
    if not allowed:
        return front
    kept = epsilon_front_mask(axes(front, objectives), tolerances(allowed, objectives))
    return front[kept].reset_index(drop=True)


def _picked(run: Path, one: NamedStudy) -> tuple[ParetoFront, tuple[Pick, ...]]:
    """Returns the front of a run and its picks, the same as its report's."""
    from nas_distill.analysis.front.front import pareto_front
    from nas_distill.analysis.front.picks import pick_students
    from nas_distill.run_directory.config import read_run_config
    from nas_distill.run_directory.layout import RunDirectory

    front = pareto_front(one.study.trials, one.study.objectives, one.study.teacher)
    tolerance = read_run_config(RunDirectory(run)).picks.gap_tolerance_points
    return front, pick_students(front, gap_tolerance_points=tolerance)
