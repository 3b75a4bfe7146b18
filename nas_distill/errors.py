"""The exception tree and the exit codes.

Everything that a user can cause is a `NasDistillError`: one line that names the field, the value, the rule and the
way out. The command line prints that line without a traceback and exits with the class's `exit_status`. Any other
exception is a bug in this project.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

from nas_distill.error_codes import CODES

_MOST_LISTED = 40
_LONGEST_SHOWN = 300

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM: 128 + SIGINT, as shells report it."""


class NasDistillError(Exception):
    """Base class of every error that a user can cause.

    `str(error)` is one line: the field, if there is one, then the message.

    Args:
        message: What is wrong and how to fix it, without the field.
        code: Stable identifier, a key of `error_codes.CODES`. Tests and scripts match on it, never on the message.
        field: Configuration key, flag, file or argument at fault; None when there is none.

    Attributes:
        exit_status: Exit status of the command line.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str = "", field: str | None = None) -> None:
        super().__init__(message)
        if code and code not in CODES:
            raise AssertionError(f"error code '{code}' is not in nas_distill.error_codes")
        self.code = code
        self.field = field

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.field is None else f"{self.field}: {message}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are lost by Exception's own reduction; Ray sends errors between processes.
        return (type(self), self.args, {"code": self.code, "field": self.field})


class ConfigError(NasDistillError):
    """A configuration field, flag or file that breaks a rule."""

    exit_status = 2


class DataError(NasDistillError):
    """Images or labels that cannot be read, or do not suit the request."""

    exit_status = 3


class TeacherError(NasDistillError):
    """A teacher that cannot be loaded, or does not match the data."""

    exit_status = 4


class SpaceError(NasDistillError):
    """A search space or candidate that cannot be used."""

    exit_status = 5


class RunError(NasDistillError):
    """A run directory that is missing, locked, damaged or belongs to another search."""

    exit_status = 6


class InstallationError(NasDistillError):
    """An installation or machine that cannot do the work (`nas_distill doctor` tells more)."""

    exit_status = 7


class ClusterError(NasDistillError):
    """A Ray cluster that cannot be reached or cannot hold one trial."""

    exit_status = 8


class StudyError(NasDistillError):
    """An Optuna study or its storage that cannot be used."""

    exit_status = 9


class NoStudentError(NasDistillError):
    """A search without one fully trained student."""

    exit_status = 10


class TrialError(NasDistillError):
    """A trial that cannot go on (NaN loss, unbuildable model); recorded with the trial, the search goes on."""

    exit_status = 11


def first_line(error: BaseException) -> str:
    """Returns the first line of what an error says, or its class when it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def one_line(error: BaseException) -> str:
    """Returns an error's class, unless it is a user error, and what it says, at most 300 characters, as one line."""
    said = " ".join(str(error).split())
    kind = "" if isinstance(error, NasDistillError) else type(error).__name__
    return ": ".join(part for part in (kind, said[:_LONGEST_SHOWN]) if part) or type(error).__name__


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the nearest known name, and all of them when they are few.

    Args:
        name: What the user wrote.
        known: The names that exist.

    Returns:
        A clause such as "did you mean 'seed'? known: data, seed".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names)}" if len(names) <= _MOST_LISTED else f"{hint}{len(names)} are known"
