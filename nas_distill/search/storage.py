"""Where a study is kept: Optuna's storages, whose errors are `StudyError`s, and which wait while a file is locked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.errors import StudyError

LOCK_PATIENCE_S = 60.0
"""How long a database that another process has locked is waited for, seconds."""

_PAUSE_S = 0.2
_WAY_OUT = "check --storage (or resources.storage in the run's config.yaml)"


def open_storage(url: str | None, *, patience_s: float = LOCK_PATIENCE_S) -> BaseStorage:
    """Returns the storage at `url`.

    Args:
        url: A database URL; None keeps the study in this process's memory.
        patience_s: How long a locked database is waited for, seconds.

    Raises:
        StudyError: It cannot be used. Its methods raise the same, from within a sampler or a space too.
    """
    if url is None:
        return optuna.storages.InMemoryStorage()
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
    except SQLAlchemyError as error:
        raise StudyError(
            f"--storage: '{url}' is no database URL ({error}); give one such as sqlite:///study.db"
        ) from error
    # SQLite waits by itself, but not where waiting might be for ever; then it is asked again.
    arguments = {"connect_args": {"timeout": max(patience_s / 4, 0.1)}} if sqlite else {}
    patience = _Patience(parsed.render_as_string(hide_password=True), patience_s)
    database = patience.call(lambda: optuna.storages.RDBStorage(url, engine_kwargs=arguments))
    return cast("BaseStorage", PatientStorage(database, patience))


class _Patience:
    """Calls a database until it is not locked, and says in one line what it cannot do.

    Args:
        shown: The database as people may see it, without a password.
        patience_s: How long it is waited for, seconds.
    """

    def __init__(self, shown: str, patience_s: float) -> None:
        self._shown = shown
        self._patience_s = patience_s

    def call(self, function: Callable[[], Any]) -> Any:
        """Returns what `function` returns.

        Raises:
            StudyError: The database cannot do it, or is still locked.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return function()
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, RuntimeError) as error:
                cause = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
                locked = "database is locked" in cause
                if locked and time.monotonic() < deadline:
                    time.sleep(_PAUSE_S)
                    continue
                raise StudyError(f"{self._shown}: {cause}{self._remedy(cause, locked=locked)}") from error

    def _remedy(self, cause: str, *, locked: bool) -> str:
        if locked:
            return (
                f", and stayed so for {self._patience_s:.0f} s; end the program that holds it, then go on with --resume"
            )
        if "readonly database" in cause:
            return "; make the file and its folder writable, then go on with --resume"
        return f"; {_WAY_OUT}"


class PatientStorage:
    """A database as Optuna uses it: has every method of `BaseStorage`, each called through `_Patience`."""

    def __init__(self, database: optuna.storages.RDBStorage, patience: _Patience) -> None:
        self._database = database
        self._cached = optuna.storages.get_storage(database)
        self._patience = patience

    def close(self) -> None:
        """Closes the connection."""
        self._database.remove_session()
        self._database.engine.dispose()

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._cached, name)

        def patiently(*arguments: Any, **keywords: Any) -> Any:
            return self._patience.call(lambda: member(*arguments, **keywords))

        return patiently
