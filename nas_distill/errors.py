"""The exception tree and the exit codes.

Everything that a user can cause is a `NasDistillError`: one line that names the field, the value, the rule and the
way out. The command line prints that line without a traceback and exits with the class's `exit_code`. Any other
exception is a bug in this project.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

_MOST_LISTED = 40
_LONGEST_SHOWN = 300

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM: 128 + SIGINT, as shells report it."""


class NasDistillError(Exception):
    """Base of every error that a user can cause."""

    exit_code: ClassVar[int] = 1


class ConfigError(NasDistillError):
    """A configuration field, flag or file that breaks a rule."""

    exit_code = 2


class DataError(NasDistillError):
    """Images or labels that cannot be read, or do not suit the request."""

    exit_code = 3


class TeacherError(NasDistillError):
    """A teacher that cannot be loaded, or does not match the data."""

    exit_code = 4


class SpaceError(NasDistillError):
    """A search space or candidate that cannot be used."""

    exit_code = 5


class RunError(NasDistillError):
    """A run directory that is missing, locked, damaged or belongs to another search."""

    exit_code = 6


class InstallationError(NasDistillError):
    """An installation or machine that cannot do the work (`nas_distill doctor` tells more)."""

    exit_code = 7


class ClusterError(NasDistillError):
    """A Ray cluster that cannot be reached or cannot hold one trial."""

    exit_code = 8


class StudyError(NasDistillError):
    """An Optuna study or its storage that cannot be used."""

    exit_code = 9


class NoStudentError(NasDistillError):
    """A search without one fully trained student."""

    exit_code = 10


class TrialError(NasDistillError):
    """A trial that cannot go on (NaN loss, unbuildable model); recorded with the trial, the search goes on."""

    exit_code = 11


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
