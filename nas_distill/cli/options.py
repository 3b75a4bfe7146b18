"""Flags that set one configuration key each, and options that several verbs share."""

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
        """Return the number or "auto". The configuration checks the range."""
        if value == "auto":
            return "auto"
        try:
            return float(value)
        except ValueError:
            self.fail(f"'{value}' must be auto, or a number of at least 0", param, ctx)


class _Duration(click.ParamType[str]):
    """A duration with its unit, such as "8h"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it ends in a unit. In a configuration file, a number without a unit means seconds."""
        bare = re.search(r"[\d.]+$", str(value).strip())
        if bare is not None:
            number = bare[0]
            self.fail(f"'{value}' has no unit; write {number}h, {number}m or {number}s", param, ctx)
        return str(value)


class _CountOrShare(click.ParamType[str]):
    """A whole number, or a share such as "10%"."""

    name = "integer|share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text. The configuration checks it."""
        del param, ctx
        return str(value)


class _TrialNumber(click.ParamType[int]):
    """The number of a trial."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        text = str(value).strip()
        if not (text.isascii() and text.isdigit()):
            self.fail(f"'{value}' must be the number of a trial, such as 12", param, ctx)
        return int(text)


NUMBER_OR_AUTO = _NumberOrAuto()
DURATION = _Duration()
COUNT_OR_SHARE = _CountOrShare()
TRIAL_NUMBER = _TrialNumber()


@dataclass(frozen=True, slots=True)
class ConfigFlag:
    """A flag that sets one configuration key.

    Attributes:
        name: Spelling of the flag, such as "--image-size".
        key: Dotted path of the key in `SearchConfig`.
        help: Help text, one line, without the default.
        kind: Click's type, or `bool` for a switch that sets the key to true.
        default: Default of the configuration, as shown in the help; empty to show none.
    """

    name: str
    key: str
    help: str
    kind: Any = field(default=str, kw_only=True)
    default: str = field(default="", kw_only=True)

    @property
    def parameter(self) -> str:
        """Name of the parameter of the verb's function."""
        return self.name.removeprefix("--").replace("-", "_")


DATA_FLAGS = (
    ConfigFlag(
        "--data",
        "data.source",
        "Images: digits, folder:PATH, or a timm data set such as torch/cifar10.",
        default="digits",
    ),
    ConfigFlag("--data-root", "data.root", "Folder of timm's data sets."),
    ConfigFlag(
        "--image-size",
        "data.image_size",
        "Height and width of the images in pixels.  [default: their own size, if it is uniform]",
        kind=int,
    ),
    ConfigFlag(
        "--max-train-images",
        "data.max_train_images",
        "Maximum number of training images, a stratified sample.",
        kind=int,
    ),
    ConfigFlag("--bad-images", "data.bad_images", "What to do with unusable images: fail or skip.", default="fail"),
)


TRUST_PICKLE_FLAG = ConfigFlag(
    "--trust-pickle", "teacher.trust_pickle", "Load pickled weights. A pickle file can run any code.", kind=bool
)

TARGET_FLAGS = (
    ConfigFlag(
        "--latency-runtime",
        "target.runtime",
        "Measure latencies with pytorch or onnxruntime.",
        kind=click.Choice(["pytorch", "onnxruntime"]),
        default="pytorch",
    ),
    ConfigFlag("--latency-threads", "target.threads", "CPU threads of a latency.", kind=int, default="1"),
    ConfigFlag("--latency-table", "target.latency_table", "CSV file with measured latencies, instead of measuring."),
    ConfigFlag("--latency-command", "target.latency_command", "Command that prints the milliseconds of an ONNX file."),
)

RESOURCE_FLAGS = (
    ConfigFlag(
        "--cpus-per-trial", "resources.cpus_per_trial", "CPUs and torch threads per trial.", kind=float, default="1.0"
    ),
    ConfigFlag(
        "--gpus-per-trial",
        "resources.gpus_per_trial",
        "GPUs per trial. A fraction lets several trials share a GPU.",
        kind=NUMBER_OR_AUTO,
        default="auto",
    ),
    ConfigFlag(
        "--max-parallel", "resources.max_parallel_trials", "Maximum number of trials that run at once.", kind=int
    ),
    ConfigFlag("--address", "resources.address", "Ray cluster: auto, HOST:PORT, or local to start one here."),
    ConfigFlag(
        "--wait-for-resources",
        "resources.wait_for_resources_s",
        "Longest wait for a node that can hold a trial, such as 10m.",
        kind=DURATION,
    ),
)


def config_flags(flags: Sequence[ConfigFlag]) -> Callable[[CommandT], CommandT]:
    """Return a decorator that adds flags to a click command, in the given order."""

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
    """Add `--config FILE` and `--set KEY=VALUE` to a click command."""
    function = click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE",
        help="Set any key, such as recipe.losses.dist.temperature=2. Overrides flags. Repeatable.",
    )(function)  # fmt: skip
    return click.option(
        "--config",
        "config_file",
        type=click.Path(),
        metavar="FILE",
        help="YAML configuration file. Flags override it.",
    )(function)


def given_values(flags: Iterable[ConfigFlag], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dotted keys and values of the flags that the user gave."""
    values = {flag.key: parameters[flag.parameter] for flag in flags}
    return {key: value for key, value in values.items() if value is not None}


def folder_path(text: str, flag: str) -> Path:
    """Return the folder that a flag names.

    Raises:
        ConfigError: The name is empty, which would mean the current folder.
    """
    if not text.strip():
        raise ConfigError("is empty; name a folder, such as runs/digits", code="cli.empty_path", field=flag)
    return Path(text)


def flag_names(flags: Iterable[ConfigFlag]) -> dict[str, str]:
    """Return the spelling of each flag by its dotted key, for error messages."""
    return {flag.key: flag.name for flag in flags}
