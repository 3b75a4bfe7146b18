"""A file of earlier measurements, shared by all runs of a user on a machine."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nas_distill.errors import RunError, first_line
from nas_distill.target.measurement import Measurement

_CREATE = "CREATE TABLE IF NOT EXISTS measurements (key TEXT PRIMARY KEY, what TEXT NOT NULL, found TEXT NOT NULL)"


def default_cache() -> Path:
    """Return the path of the cache in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas_distill" / "latency.db"


class MeasurementCache:
    """Keeps measurements in a file, which several processes may use at the same time.

    Args:
        path: SQLite file; created when the first measurement is stored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, what: Mapping[str, Any]) -> Measurement | None:
        """Return an earlier measurement; None if there is none.

        Args:
            what: Everything that decides the result, as JSON values.

        Raises:
            RunError: The file is damaged or cannot be read.
        """
        if not self._path.exists():
            return None
        with self._connected() as connection:
            row = connection.execute("SELECT what, found FROM measurements WHERE key = ?", (_key(what),)).fetchone()
        if row is None:
            return None
        try:
            found = Measurement.model_validate_json(row[1])
        except ValidationError as error:
            raise self._damaged(first_line(error)) from error
        return found if row[0] == _text(what) else None

    def put(self, what: Mapping[str, Any], found: Measurement) -> None:
        """Store a measurement, in the place of an earlier one.

        Raises:
            RunError: The file is damaged or cannot be written.
        """
        with self._connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?)",
                (_key(what), _text(what), found.model_dump_json()),
            )
            connection.commit()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60.0)) as connection:
                connection.execute(_CREATE)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise self._damaged(first_line(error)) from error

    def _damaged(self, reason: str) -> RunError:
        return RunError(
            f"the cache of latencies cannot be used: {reason}; delete the file, or name another one with target.cache",
            code="target.cache_unusable",
            field=str(self._path),
        )


def _text(what: Mapping[str, Any]) -> str:
    return json.dumps(what, sort_keys=True)


def _key(what: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(what).encode()).hexdigest()
