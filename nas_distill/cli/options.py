"""Flags that stand for one configuration key each, and the options that several verbs share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from nas_distill.errors import ConfigError

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class _NumberOrAuto(click.ParamType[float | str]):
    """A number, or the word "auto"."""

    name = "float|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Returns the number, or "auto"; what numbers may be is the configuration's to say."""
        if value == "auto":
            return "auto"
        try:
            return float(value)
        except ValueError:
            self.fail(f"'{value}' must be auto, or a number of at least 0", param, ctx)


class _Duration(click.ParamType[str]):
    """A duration with units, such as "8h"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the text; what durations are is the configuration's to say, where a bare number is seconds."""
        bare = re.search(r"[\d.]+$", str(value).strip())
        if bare is not None:
            number = bare[0]
            self.fail(
                f"'{value}' ends in a number without a unit; give a unit: {number}h, {number}m or {number}s", param, ctx
            )
        return str(value)


class _TrialNumber(click.ParamType[int]):
    """The number of a trial."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number."""
        text = str(value).strip()
        if not (text.isascii() and text.isdigit()):
            self.fail(f"'{value}' must be the number of a trial, such as 12", param, ctx)
        return int(text)


NUMBER_OR_AUTO = _NumberOrAuto()
DURATION = _Duration()
TRIAL_NUMBER = _TrialNumber()


@dataclass(frozen=True, slots=True)
class ConfigFlag:
    """A flag that sets one configuration key.

    Attributes:
        name: Such as "--image-size".
        key: Dotted path in `SearchConfig`.
        help: One line; the default is appended.
        kind: Click's type, or `bool` for a switch that sets the key to true.
        default: What the configuration says without the flag, as shown; empty shows nothing.
    """

    name: str
    key: str
    help: str
    kind: Any = field(default=str, kw_only=True)
    default: str = field(default="", kw_only=True)

    @property
    def parameter(self) -> str:
        """Name of the verb's parameter."""
        return self.name.removeprefix("--").replace("-", "_")


DATA_FLAGS = (
    ConfigFlag(
        "--data",
        "data.source",
        "digits, folder:PATH, or a data set name of timm (torch/cifar10, hfds/...).",
        default="digits",
    ),
    ConfigFlag("--data-root", "data.root", "Folder of timm's data sets."),
    ConfigFlag(
        "--image-size",
        "data.image_size",
        "Height and width, pixels, to which images are brought; theirs by default, if all agree.",
        kind=int,
    ),
    ConfigFlag("--max-train-images", "data.max_train_images", "Stratified cap on training images.", kind=int),
)


TRUST_PICKLE_FLAG = ConfigFlag(
    "--trust-pickle",
    "teacher.trust_pickle",
    "Open a pickled checkpoint; a pickle can run any code.",
    kind=bool,
)

RESOURCE_FLAGS = (
    ConfigFlag(
        "--cpus-per-trial",
        "resources.cpus_per_trial",
        "CPU slots and torch threads.",
        kind=float,
        default="1.0",
    ),
    ConfigFlag(
        "--gpus-per-trial",
        "resources.gpus_per_trial",
        "GPUs, or auto; a fraction packs several trials on one.",
        kind=NUMBER_OR_AUTO,
        default="auto",
    ),
    ConfigFlag("--max-parallel", "resources.max_parallel_trials", "Trials at once, at most.", kind=int),
    ConfigFlag("--address", "resources.address", "Ray cluster to join: auto, or HOST:PORT; local to start one here."),
)


def config_flags(flags: Sequence[ConfigFlag]) -> Callable[[CommandT], CommandT]:
    """Returns a decorator that adds `flags` to a click command, in that order."""

    def decorate(function: CommandT) -> CommandT:
        for flag in reversed(flags):
            text = f"{flag.help}  [default: {flag.default}]" if flag.default else flag.help
            if flag.kind is bool:
                option = click.option(flag.name, flag.parameter, is_flag=True, default=None, help=text)
            else:
                option = click.option(flag.name, flag.parameter, type=flag.kind, default=None, help=text)
            function = option(function)
        return function

    return decorate


def file_and_set(function: CommandT) -> CommandT:
    """Adds `--config FILE` and `--set KEY=VALUE`."""
    function = click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE",
        help="Set any key, such as recipe.losses.dist.temperature=2 (repeatable; wins over flags).",
    )(function)  # fmt: skip
    return click.option(
        "--config",
        "config_file",
        type=click.Path(),
        metavar="FILE",
        help="YAML configuration; flags win over it.",
    )(function)


def given_values(flags: Iterable[ConfigFlag], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the dotted keys and values of the flags that the user gave."""
    values = {flag.key: parameters[flag.parameter] for flag in flags}
    return {key: value for key, value in values.items() if value is not None}


def named_folder(text: str, flag: str) -> Path:
    """Returns the folder that a flag names.

    Raises:
        ConfigError: It names none, which would be taken for the current one.
    """
    if not text.strip():
        raise ConfigError(f"{flag}: is empty; give the name of a folder, such as runs/digits")
    return Path(text)


def names_of(flags: Iterable[ConfigFlag]) -> dict[str, str]:
    """Returns the dotted keys and spellings of flags, for errors."""
    return {flag.key: flag.name for flag in flags}
