"""`nas_distill search`: start or resume a search and print its report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas_distill.cli.options import (
    COUNT_OR_SHARE,
    DATA_FLAGS,
    DURATION,
    RESOURCE_FLAGS,
    TARGET_FLAGS,
    TRUST_PICKLE_FLAG,
    ConfigFlag,
    config_flags,
    file_and_set,
    flag_names,
    folder_path,
    given_values,
)
from nas_distill.errors import EXIT_INTERRUPTED, ConfigError, NoStudentError, RunError

if TYPE_CHECKING:
    from nas_distill.config import SearchConfig
    from nas_distill.search.session import SearchOutcome

BUDGET_FLAGS = (
    ConfigFlag(
        "--trials",
        "budget.trials",
        "Number of trials; with --resume, the new total.  [default: 16, or no limit with another budget]",
        kind=int,
    ),
    ConfigFlag(
        "--time-budget",
        "budget.time_s",
        "Search time, such as 8h, 90m or 3600s; with --resume, the new total.",
        kind=DURATION,
    ),
    ConfigFlag("--epoch-budget", "budget.epochs", "Number of epochs over all trials.", kind=int),
    ConfigFlag(
        "--patience",
        "budget.patience",
        "Stop after this many complete trials without a larger hypervolume.",
        kind=int,
    ),
)

FOLDS_FLAG = ConfigFlag(
    "--folds", "picks.folds", "Number of folds to cross-validate each pick; 0 for none.", kind=int, default="0"
)

ASHA_FLAG = ConfigFlag(
    "--asha", "asha.rule", "Rule for early stopping: layers, volume, residual or none.", default="volume"
)

ASSISTANTS_FLAG = ConfigFlag(
    "--assistants",
    "assistants.count",
    "Maximum number of teacher assistants: students that teach smaller ones.",
    kind=int,
    default="0",
)

SAMPLER_FLAG = ConfigFlag(
    "--sampler", "sampler.name", "tpe, nsga2, nsga3, gp, random, MODULE:CLASS or FILE.py:CLASS.", default="tpe"
)

KEPT_FLAGS = (*BUDGET_FLAGS, SAMPLER_FLAG, ASHA_FLAG, ASSISTANTS_FLAG, FOLDS_FLAG)
"""Flags that --resume writes to the run's configuration. Resource flags hold for one session only."""

FLAGS = (
    *DATA_FLAGS,
    ConfigFlag("--teacher", "teacher.model", "timm model, local-dir:PATH, or a student as run:RUN/TRIAL."),
    ConfigFlag("--teacher-checkpoint", "teacher.checkpoint", "Weights of the timm model (.safetensors)."),
    TRUST_PICKLE_FLAG,
    ConfigFlag(
        "--online-teacher", "teacher.online", "Run the teacher at every step instead of storing its outputs.", kind=bool
    ),
    ConfigFlag(
        "--space",
        "space.name",
        "Search space: a shipped one, or FILE.py[:FUNCTION].  [default: tiny for digits, else auto]",
    ),
    ConfigFlag("--recipe", "space.recipe", "Training recipe: fixed, search, or FILE.py[:FUNCTION].", default="fixed"),
    SAMPLER_FLAG,
    ConfigFlag(
        "--initial-points", "space.initial_points", "Candidates to train first: a YAML or JSON file, or a run's front."
    ),
    ConfigFlag(
        "--initial-weights",
        "space.initial_weights",
        "Initial weights, comma-separated: random, teacher, pretrained, run:RUN/TRIAL.",
        default="random,teacher",
    ),
    ConfigFlag("--pretrained-root", "space.pretrained_root", "Folder with timm's weight files, for offline use."),
    ConfigFlag(
        "--objectives", "objectives", "Two to four objectives, comma-separated.", default="gap_points,num_params"
    ),
    *BUDGET_FLAGS,
    ConfigFlag("--epochs", "recipe.epochs", "Epochs per student.", kind=int, default="30"),
    ConfigFlag("--batch-size", "recipe.batch_size", "Images per step.", kind=int, default="64"),
    ConfigFlag("--learning-rate", "recipe.learning_rate", "Peak learning rate.", kind=float, default="0.004"),
    ConfigFlag(
        "--max-params",
        "space.max_params",
        "Maximum number of parameters, or share of the teacher's such as 10%.",
        kind=COUNT_OR_SHARE,
    ),
    ConfigFlag(
        "--max-macs",
        "space.max_macs",
        "Maximum MACs per image, or share of the teacher's such as 25%.",
        kind=COUNT_OR_SHARE,
    ),
    ConfigFlag(
        "--max-size-bytes",
        "space.max_size_bytes",
        "Maximum model size in bytes, or share of the teacher's such as 10%.",
        kind=COUNT_OR_SHARE,
    ),
    ConfigFlag(
        "--max-latency-ms",
        "space.max_latency_ms",
        "Maximum latency on the target, in ms per image.",
        kind=float,
    ),
    ConfigFlag(
        "--min-throughput",
        "space.min_throughput_per_s",
        "Minimum throughput on the target, in images per second.",
        kind=float,
    ),
    *TARGET_FLAGS,
    ConfigFlag(
        "--gap-tolerance",
        "picks.gap_tolerance_points",
        "Acceptable gap to the teacher in percentage points of top-1.",
        kind=float,
        default="1.0",
    ),
    ASHA_FLAG,
    ASSISTANTS_FLAG,
    FOLDS_FLAG,
    *RESOURCE_FLAGS,
    ConfigFlag("--storage", "resources.storage", "Optuna storage URL.  [default: SQLite file in the run directory]"),
    ConfigFlag("--seed", "seed", "Random seed.", kind=int, default="0"),
)

_LISTS = frozenset({"objectives", "space.initial_weights"})
"""Keys of the flags that take a comma-separated list."""


@click.command(short_help="Search for students, distil them and write a report.")
@config_flags(FLAGS)
@file_and_set
@click.option("--out", type=click.Path(), metavar="DIR", help="Run directory.  [default: runs/DATA-TIME]")
@click.option(
    "--resume",
    type=click.Path(),
    metavar="RUN",
    help="Continue a run with its own configuration. Budgets, --sampler, --asha, --assistants, --folds and resources "
    "may change.",
)
@click.option("--retry-failed", is_flag=True, help="With --resume: train failed trials again.")
def command(
    config_file: str | None,
    overrides: tuple[str, ...],
    out: str | None,
    resume: str | None,
    *,
    retry_failed: bool,
    **parameters: Any,
) -> None:
    """Search for students of a teacher, distil them, and write a report.

    Photos need --image-size, with the same value as for their teacher. `nas_distill spaces list` shows the spaces, most
    of which are made for images of 24 to 384 pixels.

    \b
    Examples:
      python -m nas_distill search --data digits
      python -m nas_distill search --data folder:photos --image-size 96 --teacher local-dir:runs/teacher --space resnet
      python -m nas_distill search --resume runs/digits-20260101-120000 --trials 32
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    if resume is not None:
        others: dict[str, object] = {"--config": config_file, "--set": overrides or None, "--out": out}
        values = _resume_values(parameters, others)
        outcome = _resume(folder_path(resume, "--resume"), values, retry_failed=retry_failed)
    elif retry_failed:
        raise ConfigError("needs --resume RUN", code="cli.only_with_resume", field="--retry-failed")
    else:
        outcome = _start(_config(config_file, overrides, parameters), out)
    if outcome.interrupted:
        click.echo(f"to resume: python -m nas_distill search --resume {shlex.quote(str(outcome.run.path))}")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    _report(outcome)


def _start(config: SearchConfig, out: str | None) -> SearchOutcome:
    from nas_distill.cli.display.progress import make_progress
    from nas_distill.run_directory.config import default_folder

    folder = folder_path(out, "--out") if out is not None else default_folder(config.data.source)
    _check_folder(folder)
    with make_progress(sys.stderr) as progress:
        from nas_distill.search.service import start_search

        return start_search(config, folder, progress)


def _resume(folder: Path, values: dict[str, Any], *, retry_failed: bool) -> SearchOutcome:
    from nas_distill.cli.display.progress import make_progress

    changes = {flag.key: values.pop(flag.key) for flag in KEPT_FLAGS if flag.key in values}
    with make_progress(sys.stderr) as progress:
        from nas_distill.search.service import resume_search

        return resume_search(
            folder,
            progress,
            retry_failed=retry_failed,
            changes=changes,
            resources=values,
            flag_names=flag_names(FLAGS),
        )


def _config(config_file: str | None, overrides: tuple[str, ...], parameters: dict[str, Any]) -> SearchConfig:
    from nas_distill.config.loading import load_config

    values = given_values(FLAGS, parameters)
    for key in _LISTS & values.keys():
        values[key] = tuple(name.strip() for name in values[key].split(","))
    return load_config(
        None if config_file is None else Path(config_file), overrides, values, flag_names=flag_names(FLAGS)
    )


def _resume_values(parameters: dict[str, Any], others: dict[str, object]) -> dict[str, Any]:
    """Return the values that --resume may change.

    Raises:
        ConfigError: A flag was given that cannot change in an existing run.
    """
    changeable = (*KEPT_FLAGS, *RESOURCE_FLAGS)
    fixed = [flag for flag in FLAGS if flag not in changeable]
    rejected = [flag.name for flag in fixed if parameters[flag.parameter] is not None]
    rejected += [name for name, value in others.items() if value is not None]
    if rejected:
        raise ConfigError(
            "cannot be combined with --resume; a resumed run accepts only "
            f"{', '.join(flag.name for flag in changeable)}",
            code="cli.not_with_resume",
            field=", ".join(rejected),
        )
    return given_values(changeable, parameters)


def _check_folder(folder: Path) -> None:
    from nas_distill.run_directory.files import reading
    from nas_distill.run_directory.layout import RunDirectory

    with reading(f"--out {folder}"):
        is_file = folder.exists() and not folder.is_dir()
        holds_run = RunDirectory(folder).config.exists()
    if is_file:
        raise RunError(f"{folder} is a file; name a folder", code="cli.not_a_folder", field="--out")
    if holds_run:
        raise RunError(
            f"{folder} already holds a run; continue it with `--resume {folder}` or choose another folder",
            code="cli.run_exists",
            field="--out",
        )


def _report(outcome: SearchOutcome) -> None:
    from nas_distill.cli.display.report import print_report
    from nas_distill.report import build_report

    report = build_report(outcome.run)
    print_report(report)
    if report.content.counts.complete == 0:
        raise NoStudentError(
            f"no trial completed; {report.paths.html} lists the trials and their errors",
            code="cli.no_complete_trial",
            field=str(outcome.run.path),
        )
