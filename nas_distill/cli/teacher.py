"""`nas_distill teacher`: train a teacher on the labels and write it as a timm local-dir."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nas_distill.cli.options import (
    DATA_FLAGS,
    TRUST_PICKLE_FLAG,
    ConfigFlag,
    config_flags,
    file_and_set,
    flag_names,
    folder_path,
    given_values,
)

FLAGS = (
    *DATA_FLAGS,
    ConfigFlag("--epochs", "teacher.recipe.epochs", "Training epochs.", kind=int, default="30"),
    ConfigFlag("--batch-size", "teacher.recipe.batch_size", "Images per step.", kind=int, default="64"),
    ConfigFlag("--learning-rate", "teacher.recipe.learning_rate", "Peak learning rate.", kind=float, default="0.003"),
    ConfigFlag("--checkpoint", "teacher.checkpoint", "Initial weights of a timm model (.safetensors)."),
    TRUST_PICKLE_FLAG,
    ConfigFlag("--seed", "seed", "Random seed.", kind=int, default="0"),
)


@click.command(short_help="Train or fine-tune a teacher on the labels.")
@click.option(
    "--model",
    required=True,
    help="timm model, such as resnet18, or local-dir:PATH to train a teacher further.",
)
@click.option("--pretrained", is_flag=True, help="Start from timm's pretrained weights of the model.")
@click.option(
    "--model-arg",
    "model_arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Model constructor argument as JSON, such as layers=[2,2,2,2]. Repeatable.",
)
@click.option("--out", required=True, type=click.Path(), metavar="DIR", help="Output folder.")
@config_flags(FLAGS)
@file_and_set
def command(
    *,
    model: str,
    pretrained: bool,
    model_arguments: tuple[str, ...],
    out: str,
    config_file: str | None,
    overrides: tuple[str, ...],
    **parameters: Any,
) -> None:
    """Train or fine-tune a teacher on the labels and write it as a timm local-dir.

    Photos need --image-size, with the same value as in the search.

    \b
    Example:
      python -m nas_distill teacher --data folder:photos --image-size 96 \\
          --model resnet34 --pretrained --learning-rate 3e-4 --out runs/teacher
      python -m nas_distill search --data folder:photos --image-size 96 \\
          --teacher local-dir:runs/teacher --space resnet
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    from nas_distill.cli.display.progress import make_progress
    from nas_distill.config.loading import load_config, parse_assignment

    folder = folder_path(out, "--out")
    # The configuration requires a teacher for all data but digits: name the one that this command trains.
    values: dict[str, object] = {"teacher.model": model, **given_values(FLAGS, parameters)}
    names = {"teacher.model": "--model", **flag_names(FLAGS)}
    for text in model_arguments:
        path, value = parse_assignment(text, flag="--model-arg", example="layers=[2,2,2,2]")
        key = ".".join(("teacher", "arguments", *path))
        values[key], names[key] = value, f"--model-arg {text}"
    config = load_config(None if config_file is None else Path(config_file), overrides, values, flag_names=names)
    with make_progress(sys.stderr) as progress:
        from nas_distill.search.setup.teacher_training import train_teacher

        record = train_teacher(
            model,
            folder,
            config.teacher,
            data=config.data,
            views=config.views,
            seed=config.seed,
            execution=config.resources.execution,
            progress=progress,
            pretrained=pretrained,
        )
    click.echo(
        f"{record.architecture}: {100 * record.top1:.2f} % top-1 on validation, {record.cost.num_params:,} parameters"
    )
    click.echo(f"to use it: --teacher local-dir:{out}")
