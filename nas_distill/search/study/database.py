"""A study's database: its errors become one-line `StudyError`s, and a locked file is waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.errors import StudyError
from nas_distill.optuna_private import UncheckedDatabase

LOCK_TIMEOUT_S = 60.0
"""Longest wait for a database that another process has locked, seconds."""

_DATABASE_ERRORS = (
    SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, RuntimeError, LookupError,
    json.JSONDecodeError,
)  # fmt: skip
"""What Optuna and SQLAlchemy raise for a database that is unreachable or damaged."""

_PAUSE_S = 0.2


def open_database(url: str, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> RetryingDatabase:
    """Open the database at `url`.

    Args:
        url: Database URL.
        lock_timeout_s: Longest wait for a locked database, seconds.

    Raises:
        StudyError: The URL is invalid, or the database cannot be used. The methods of the database raise this error.
    """
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        # SQLite waits on its own, except where it detects a possible deadlock; `Retries` tries again then.
        arguments = {"connect_args": {"timeout": max(lock_timeout_s / 4, 0.1)}} if sqlite else {}
        retries = Retries(parsed.render_as_string(hide_password=True), lock_timeout_s)
        database = retries.call(lambda: UncheckedDatabase(url, engine_kwargs=arguments))
    except (SQLAlchemyError, ValueError) as error:  # ValueError: a port or a setting is not a number
        raise StudyError(
            f"'{url}' is not a database URL ({error}); give one such as sqlite:///study.db",
            code="study.storage_url",
            field="--storage",
        ) from error
    return RetryingDatabase(database, retries)


class Retries:
    """Calls a database again while it is locked, and turns its errors into one-line `StudyError`s.

    Args:
        shown: URL of the database without its password, for errors.
        lock_timeout_s: Longest wait for a locked database, seconds.
    """

    def __init__(self, shown: str, lock_timeout_s: float) -> None:
        self._shown = shown
        self.lock_timeout_s = lock_timeout_s

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` and return its result.

        Raises:
            StudyError: The database reports an error, or stays locked for too long.
        """
        deadline = time.monotonic() + self.lock_timeout_s
        while True:
            try:
                return function()
            except KeyError:  # how Optuna says that a study or trial does not exist
                raise
            except _DATABASE_ERRORS as error:
                cause = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
                locked = "database is locked" in cause
                if locked and time.monotonic() < deadline:
                    time.sleep(_PAUSE_S)
                    continue
                if isinstance(error, ImportError):
                    raise self._driver_missing(cause) from error
                raise self._error(cause, locked=locked) from error

    def _driver_missing(self, cause: str) -> StudyError:
        backend = self._shown.partition(":")[0].partition("+")[0]
        extra = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}.get(backend)
        fix = "install it" if extra is None else f"pip install 'nas-distill[{extra}]'"
        form = ", and write mysql+pymysql://user@host/name" if extra == "mysql" else ""
        message = f"the driver of the database cannot be imported ({cause}); {fix}{form}"
        return StudyError(message, code="study.driver_missing", field=self._shown)

    def _error(self, cause: str, *, locked: bool) -> StudyError:
        if locked:
            fix = f" for {self.lock_timeout_s:.0f} s; stop the program that holds it, then continue with --resume"
            return StudyError(f"{cause}{fix}", code="study.locked", field=self._shown)
        if "readonly database" in cause:
            fix = "make the file and its folder writable, then continue with --resume"
            return StudyError(f"{cause}; {fix}", code="study.read_only", field=self._shown)
        fix = "rebuild the study with `nas_distill repair RUN`, or check --storage (resources.storage in config.yaml)"
        return StudyError(f"{cause}; {fix}", code="study.storage_failed", field=self._shown)


class RetryingDatabase:
    """Has every method of Optuna's `RDBStorage`, each called through `Retries`."""

    def __init__(self, database: optuna.storages.RDBStorage, retries: Retries) -> None:
        self._database = database
        self.retries = retries

    def close(self) -> None:
        """Close the connection."""
        self._database.remove_session()
        self._database.engine.dispose()

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._database, name)

        def retrying(*arguments: Any, **keywords: Any) -> Any:
            return self.retries.call(lambda: member(*arguments, **keywords))

        return retrying
