"""The database of a study, opened for reading. Creates nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from pydantic_core import from_json
from sqlalchemy import and_, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.errors import StudyError
from nas_distill.optuna_private import TrialModel, TrialUserAttributeModel, study_id_of
from nas_distill.run_directory.files import reading

_DATABASE_ERRORS = (
    SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError, LookupError, ValueError, TypeError,
)  # fmt: skip
"""What Optuna and SQLAlchemy raise for a database that is unreachable or damaged."""

_ROWS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A trial as it is read: those of the attributes `_READ` that it has, and the time of its end in the study."""

    number: int
    state: TrialState
    completed_at: datetime | None
    attributes: Mapping[str, Any]

    @property
    def is_running(self) -> bool:
        """Whether a worker may be training it."""
        return self.state is TrialState.RUNNING

    @property
    def is_ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state.is_finished()


_READ = ("task", "result", "spec", "cost", "rejection")


def stored_rows(study: optuna.Study, storage: RDBStorage) -> Iterator[StoredRow]:
    """Yield the study's trials in the order of the database, with one query.

    `Study.get_trials` also builds every parameter, its distribution and all other attributes, which takes most of the
    time of reading a long study. A test compares the two.
    """
    trial, attribute = TrialModel.__table__.c, TrialUserAttributeModel.__table__.c
    query = (
        select(trial.trial_id, trial.number, trial.state, trial.datetime_complete, attribute.key, attribute.value_json)
        .outerjoin_from(
            TrialModel.__table__,
            TrialUserAttributeModel.__table__,
            and_(attribute.trial_id == trial.trial_id, attribute.key.in_(_READ)),
        )
        .where(trial.study_id == study_id_of(study))
        .order_by(trial.trial_id)
    )
    with storage.engine.connect() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)
        for _, lines in groupby(found, key=itemgetter(0)):
            (_, number, state, completed, *_), *_ = own = list(lines)
            yield StoredRow(
                number=number,
                state=state,
                completed_at=completed and completed.replace(tzinfo=UTC),  # Optuna stores naive UTC times
                attributes={key: from_json(value) for *_, key, value in own if key is not None},
            )


@contextmanager
def opened_study(url: str, name: str) -> Iterator[tuple[optuna.Study, RDBStorage]]:
    """Open the study `name` at `url` and its storage without creating anything; close the connection at the end."""
    public = public_url(url)
    parsed = make_url(url)
    with reading(public):
        missing = parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file()
    if missing:
        raise StudyError(
            "holds no study; give a run whose search has started, or rebuild it with `nas_distill repair RUN`",
            code="study.missing",
            field=public,
        )
    try:
        storage = RDBStorage(url, skip_table_creation=True)
        try:
            yield _study(name, storage, public), storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except _DATABASE_ERRORS as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StudyError(
            f"cannot be read: {cause}; rebuild it with `nas_distill repair RUN`, or check resources.storage",
            code="study.storage_failed",
            field=public,
        ) from error


def _study(name: str, storage: RDBStorage, public: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyError(
            f"holds no study called '{name}'; restore resources.storage and resources.study_name in config.yaml, or "
            "rebuild the study with `nas_distill repair RUN`",
            code="study.missing",
            field=public,
        ) from None


def public_url(url: str) -> str:
    """Return the URL of a storage without its password.

    Raises:
        StudyError: The text is not a URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        raise StudyError(
            "is not a database URL; write one such as sqlite:////folder/study.db or postgresql://user@host/name",
            code="study.storage_url",
            field="resources.storage",
        ) from None
