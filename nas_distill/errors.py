"""The exception tree and the exit statuses.

Every error that a user can cause is a `NasDistillError`. The command line prints its field, message and code on one
line, without a traceback, and exits with the class's `exit_status`. Any other exception is a bug in this project.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, ClassVar

from nas_distill.error_codes import CODES

_MAX_LISTED = 40
_MAX_LENGTH = 300

# A number up to the end or a slash is a port; ${NAME} is an environment variable.
_URL_PASSWORD = re.compile(r"""(://[^\s:/@'"]*:)(?!\$\{)(?!\d+(?:[/\s'",;)?]|$))(?:[^\s'"]*@|[^\s'"]*)""")
_QUERY_PASSWORD = re.compile(r"""([?&](?:password|passwd|pwd)=)[^&\s'"]*""", re.IGNORECASE)

EXIT_INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM: 128 + SIGINT, as in shells."""


class NasDistillError(Exception):
    """Base class of every error that a user can cause.

    `str(error)` is one line, "field: message"; errors in `others` follow, one per line.

    Args:
        message: What is wrong and how to fix it, without the field.
        code: Stable identifier, a key of `error_codes.CODES`. Tests and scripts match on it, never on the message.
        field: Configuration key, flag, file or argument at fault; None if there is none.
        others: Further errors found at the same time, such as other invalid values of a configuration.

    Attributes:
        exit_status: Exit status of the command line.
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self, message: str, *, code: str = "", field: str | None = None, others: tuple[NasDistillError, ...] = ()
    ) -> None:
        super().__init__(_printable(mask_passwords(message)))
        if code and code not in CODES:
            raise AssertionError(f"error code '{code}' is not in nas_distill.error_codes")
        self.code = code
        self.field = None if field is None else _printable(mask_passwords(field))
        self.others = others

    def __str__(self) -> str:
        message = super().__str__()
        own = message if self.field is None else f"{self.field}: {message}"
        return "\n".join((own, *map(str, self.others)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own __reduce__ loses keyword-only arguments; Ray sends errors between processes.
        return (type(self), self.args, {"code": self.code, "field": self.field, "others": self.others})

    def lines(self) -> tuple[str, ...]:
        """Return one line per error, "field: message  [code]", as the command line prints it."""
        message = super().__str__()
        own = message if self.field is None else f"{self.field}: {message}"
        lines = [f"{own}  [{self.code}]" if self.code else own]
        return (*lines, *(line for other in self.others for line in other.lines()))


class ConfigError(NasDistillError):
    """A configuration field, flag or file that breaks a rule."""

    exit_status = 2


class DataError(NasDistillError):
    """Images or labels that cannot be read or do not fit the request."""

    exit_status = 3


class TeacherError(NasDistillError):
    """A teacher that cannot be loaded or does not match the data."""

    exit_status = 4


class SpaceError(NasDistillError):
    """A search space or candidate that cannot be used."""

    exit_status = 5


class RunError(NasDistillError):
    """A run directory that is missing, locked or damaged, or belongs to another search."""

    exit_status = 6


class InstallationError(NasDistillError):
    """An installation or machine that cannot run a search; `nas_distill doctor` shows details."""

    exit_status = 7


class ClusterError(NasDistillError):
    """A Ray cluster that cannot be reached or has no room for a trial."""

    exit_status = 8


class StudyError(NasDistillError):
    """An Optuna study or storage that cannot be used."""

    exit_status = 9


class NoStudentError(NasDistillError):
    """A search that ended without a fully trained student."""

    exit_status = 10


class TrialError(NasDistillError):
    """A trial that failed (NaN loss, model that cannot be built); it is recorded, and the search continues."""

    exit_status = 11


class ExportError(NasDistillError):
    """A student that cannot be exported with the same outputs, or an export that is missing or damaged."""

    exit_status = 12


def _printable(text: str) -> str:
    """Return a text on one line: a user's value may hold line feeds, terminal codes, or bytes that are not UTF-8."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def mask_passwords(text: str) -> str:
    """Return a text in which *** replaces the passwords of URLs, also of those that are cut off."""
    text = _URL_PASSWORD.sub(lambda found: f"{found[1]}***{'@' if found[0].endswith('@') else ''}", text)
    return _QUERY_PASSWORD.sub(r"\1***", text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class name if the text is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def last_line(error: BaseException | str | None) -> str:
    """Return the last line of an error's message, at most 300 characters; "" without an error.

    Ray passes on a worker's traceback as text, whose last line names the exception and its message.
    """
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1][:_MAX_LENGTH] if lines else ""


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, at most 300 characters, after its class name unless it is a user error."""
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, NasDistillError) else type(error).__name__
    return ": ".join(part for part in (kind, text[:_MAX_LENGTH]) if part) or type(error).__name__


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest known name, and all known names if they are few.

    Args:
        name: What the user wrote.
        known: The known names.

    Returns:
        A clause such as "did you mean 'seed'? known: data, seed".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names)}" if len(names) <= _MAX_LISTED else f"{hint}{len(names)} are known"
