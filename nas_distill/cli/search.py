"""`nas_distill search`: flags to a configuration, one call, the front on the screen."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas_distill.cli.options import (
    DATA_FLAGS,
    DURATION,
    RESOURCE_FLAGS,
    TRUST_PICKLE_FLAG,
    ConfigFlag,
    config_flags,
    file_and_set,
    given_values,
    named_folder,
    names_of,
)
from nas_distill.errors import EXIT_INTERRUPTED, ConfigError, NoStudentError, RunError

if TYPE_CHECKING:
    from nas_distill.search.session import SearchOutcome

BUDGET_FLAGS = (
    ConfigFlag(
        "--trials",
        "budget.trials",
        "Trials to train; with --resume, in all.  [default: 16, without another budget]",
        kind=int,
    ),
    ConfigFlag(
        "--time-budget",
        "budget.time_s",
        "Time to search, such as 8h, 90m or 3600s; with --resume, in all.",
        kind=DURATION,
    ),
    ConfigFlag("--epoch-budget", "budget.epochs", "Epochs to train in all.", kind=int),
    ConfigFlag(
        "--patience",
        "budget.patience",
        "End after so many fully trained trials without a larger hypervolume.",
        kind=int,
    ),
)

FOLDS_FLAG = ConfigFlag(
    "--folds",
    "picks.folds",
    "Score every pick by K-fold cross-validation, too; 0 for none.",
    kind=int,
    default="0",
)

ASHA_FLAG = ConfigFlag(
    "--asha",
    "asha.rule",
    "Stop weak trials early by layers, volume or residual; none for no stopping.",
    default="volume",
)

ASSISTANTS_FLAG = ConfigFlag(
    "--assistants",
    "assistants.count",
    "Students that teach smaller ones afterwards, at most; 0 for none.",
    kind=int,
    default="0",
)

SAMPLER_FLAG = ConfigFlag(
    "--sampler",
    "sampler.name",
    "tpe, nsga2, nsga3, gp, random, module:Class or FILE.py:Class.",
    default="tpe",
)

KEPT_FLAGS = (*BUDGET_FLAGS, SAMPLER_FLAG, ASSISTANTS_FLAG, FOLDS_FLAG)
"""With --resume, from then on part of the run's configuration."""

FLAGS = (
    *DATA_FLAGS,
    ConfigFlag("--teacher", "teacher.model", "timm name, local-dir:PATH of `nas_distill teacher`, or run:RUN/TRIAL."),
    ConfigFlag("--teacher-checkpoint", "teacher.checkpoint", "Weights for a timm name (.safetensors)."),
    TRUST_PICKLE_FLAG,
    ConfigFlag(
        "--online-teacher",
        "teacher.online",
        "Ask the teacher at every step instead of storing its answers.",
        kind=bool,
    ),
    ConfigFlag("--space", "space.name", "Shipped search space, or FILE.py[:function].", default="tiny"),
    ConfigFlag("--recipe", "space.recipe", "fixed, search, or FILE.py[:function].", default="fixed"),
    SAMPLER_FLAG,
    ConfigFlag(
        "--initial-points", "space.initial_points", "Candidates to try first: a file (YAML, JSON), or a run's front."
    ),
    ConfigFlag("--objectives", "objectives", "Two to four, comma separated.", default="gap_points,num_params"),
    *BUDGET_FLAGS,
    ConfigFlag("--epochs", "recipe.epochs", "Epochs per student.", kind=int, default="30"),
    ConfigFlag("--batch-size", "recipe.batch_size", "Images per step.", kind=int, default="64"),
    ConfigFlag("--learning-rate", "recipe.learning_rate", "Peak learning rate.", kind=float, default="0.004"),
    ConfigFlag("--max-params", "space.max_params", "Refuse larger candidates.", kind=int),
    ConfigFlag("--max-macs", "space.max_macs", "Refuse candidates with more MACs.", kind=int),
    ConfigFlag("--max-size-bytes", "space.max_size_bytes", "Refuse candidates that take more bytes.", kind=int),
    ConfigFlag("--max-latency-ms", "space.max_latency_ms", "Refuse candidates that are slower here.", kind=float),
    ConfigFlag(
        "--gap-tolerance",
        "picks.gap_tolerance_points",
        "Gap up to which the smallest student is picked, percentage points.",
        kind=float,
        default="1.0",
    ),
    ASHA_FLAG,
    ASSISTANTS_FLAG,
    FOLDS_FLAG,
    *RESOURCE_FLAGS,
    ConfigFlag("--storage", "resources.storage", "Optuna storage URL; SQLite in the run by default."),
    ConfigFlag("--seed", "seed", "Of proposals, weights and image order.", kind=int, default="0"),
)


@click.command(short_help="Search for students, distil them, write the report.")
@config_flags(FLAGS)
@file_and_set
@click.option("--out", type=click.Path(), metavar="DIR", help="Run directory.  [default: runs/<data>-<time>]")
@click.option(
    "--resume",
    type=click.Path(),
    metavar="RUN",
    help="Go on with a run, whose own values hold, not the defaults shown here "
    "(takes budgets, --sampler, --assistants, --folds and resource flags).",
)
def command(
    config_file: str | None,
    overrides: tuple[str, ...],
    out: str | None,
    resume: str | None,
    **parameters: Any,
) -> None:
    """Searches for students of a teacher, distils them, and writes the report.

    Photos need --image-size, the same as their teacher was trained with. The space resnet is for images of 24 to 96
    pixels; for larger ones bring a space of your own.

    \b
    Examples:
      python -m nas_distill search --data digits
      python -m nas_distill search --data folder:photos --image-size 96 --teacher local-dir:runs/teacher --space resnet
      python -m nas_distill search --resume runs/digits-20260101-120000 --trials 32
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    from nas_distill.cli.display.progress import make_progress

    if resume is not None:
        others: dict[str, object] = {"--config": config_file, "--set": overrides or None, "--out": out}
        values = _resume_values(parameters, others)
        with make_progress(sys.stderr) as progress:
            from nas_distill.search.service import resume_search

            changes = {flag.key: values.pop(flag.key) for flag in KEPT_FLAGS if flag.key in values}
            folder = named_folder(resume, "--resume")
            outcome = resume_search(folder, progress, changes=changes, resources=values, flag_names=names_of(FLAGS))
    else:
        config = _config(config_file, overrides, parameters)
        folder = named_folder(out, "--out") if out is not None else _default_folder(config.data.source)
        _check_folder(folder)
        with make_progress(sys.stderr) as progress:
            from nas_distill.search.service import start_search

            outcome = start_search(config, folder, progress)
    _finish(outcome)


def _config(config_file: str | None, overrides: tuple[str, ...], parameters: dict[str, Any]) -> Any:
    from nas_distill.config.loading import load_config

    values = given_values(FLAGS, parameters)
    if "objectives" in values:
        values["objectives"] = tuple(name.strip() for name in values["objectives"].split(","))
    return load_config(
        None if config_file is None else Path(config_file),
        overrides,
        values,
        flag_names=names_of(FLAGS),
    )


def _resume_values(parameters: dict[str, Any], others: dict[str, object]) -> dict[str, Any]:
    """Returns what --resume may change.

    Raises:
        ConfigError: A flag was given that a run in progress cannot change.
    """
    changeable = (*KEPT_FLAGS, *RESOURCE_FLAGS)
    fixed = [flag for flag in FLAGS if flag not in changeable]
    rejected = [flag.name for flag in fixed if parameters[flag.parameter] is not None]
    rejected += [name for name, value in others.items() if value is not None]
    if rejected:
        raise ConfigError(
            f"{', '.join(rejected)}: cannot be given with --resume, a run keeps its configuration; "
            f"only {', '.join(flag.name for flag in changeable)} can change"
        )
    return given_values(changeable, parameters)


def _default_folder(source: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", Path(source.rpartition(":")[2]).name).strip("-.") or "data"
    return Path("runs") / f"{name}-{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S}"


def _check_folder(folder: Path) -> None:
    from nas_distill.run_directory.files import reading
    from nas_distill.run_directory.layout import RunDirectory

    with reading(f"--out {folder}"):
        is_file = folder.exists() and not folder.is_dir()
        holds_run = RunDirectory(folder).config.exists()
    if is_file:
        raise RunError(f"--out {folder}: is a file; give the name of a folder")
    if holds_run:
        raise RunError(
            f"--out {folder}: already holds a run; go on with it by `--resume {folder}` or choose another folder"
        )


def _finish(outcome: SearchOutcome) -> None:
    """Prints what was found, or how to go on."""
    if outcome.interrupted:
        click.echo(f"resume with: python -m nas_distill search --resume {shlex.quote(str(outcome.run.path))}")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    from nas_distill.cli.report import print_report
    from nas_distill.report import load_content, write_report

    content = load_content(outcome.run)
    paths = write_report(content, outcome.run.report)
    print_report(content, paths)
    if content.counts.complete == 0:
        raise NoStudentError(
            f"{outcome.run.path}: no student was trained to the end; {paths.html} lists the trials and their errors"
        )
