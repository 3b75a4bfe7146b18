"""Where a study is kept: in memory, where it is asked, and in a database, where it is written once per step.

The database's errors are `StudyError`s, and a locked file is waited for.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.storages._rdb.models import TrialParamModel
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.errors import StudyError

LOCK_PATIENCE_S = 60.0
"""How long a database that another process has locked is waited for, seconds."""

REPORTED = "told"
"""User attribute of a failed trial: values that the sampler is told of it all the same, in the objectives' order."""

_PAUSE_S = 0.2
_PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*@")
_WAY_OUT = "check --storage (or resources.storage in the run's config.yaml)"


class LedgerStorage(InMemoryStorage):
    """A study that is read from memory and written to a database when `save` says so.

    Optuna writes each choice of a trial in a transaction of its own, and reads trials many times per proposal: 25
    transactions where one will do. The search is the only writer of its study, so that memory holds the truth; a
    trial that was never saved has, after a crash, never been asked for.

    A trial with the attribute `TOLD` is failed in the database, where people and other programs look, and complete with
    those values in memory, where the sampler looks: what it learns from is not taken for what was measured.

    Args:
        url: A database URL; None keeps the study in memory alone.
        patience_s: How long a locked database is waited for, seconds.

    Attributes:
        is_new: Whether the database had no study of this name.

    Raises:
        StudyError: The database cannot be used. The other methods raise the same.
    """

    def __init__(self, url: str | None, *, patience_s: float = LOCK_PATIENCE_S) -> None:
        super().__init__()
        self.database = None if url is None else open_database(url, patience_s=patience_s)
        self.disk = cast("BaseStorage | None", self.database)
        self.is_new = True
        self._disk_study_id = -1
        self._saved: list[FrozenTrial] = []
        self._disk_ids: list[int] = []

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Returns the study in memory, with all that the database has of a study of this name."""
        if self.disk is None:
            return super().create_new_study(directions, study_name)
        try:
            self._disk_study_id = self.disk.create_new_study(directions, study_name)
        except optuna.exceptions.DuplicatedStudyError:
            assert study_name is not None
            self.is_new = False
            self._disk_study_id = self.disk.get_study_id_from_name(study_name)
        study_id = super().create_new_study(self.disk.get_study_directions(self._disk_study_id), study_name)
        for key, value in self.disk.get_study_user_attrs(self._disk_study_id).items():
            super().set_study_user_attr(study_id, key, value)
        for trial in self.disk.get_all_trials(self._disk_study_id, deepcopy=False):
            trial_id = super().create_new_trial(study_id, template_trial=_as_told(trial))
            # As `set_trial_param` does, so that choices that have changed are refused.
            self._studies[study_id].param_distribution.update(trial.distributions)
            self._saved.append(_snapshot(self.get_trial(trial_id)))
            self._disk_ids.append(trial._trial_id)
        return study_id

    def delete_study(self, study_id: int) -> None:
        """Deletes it in the database too."""
        if self.disk is not None:
            self.disk.delete_study(self._disk_study_id)
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets it in the database too."""
        if self.disk is not None:
            self.disk.set_study_user_attr(self._disk_study_id, key, value)
        super().set_study_user_attr(study_id, key, value)

    def save(self, trial_id: int) -> None:
        """Makes the database's trial what it is in memory; trials before it that were not saved come with it."""
        if self.disk is None:
            return
        study_id, number = self.get_study_id_of(trial_id), self.get_trial_number_from_id(trial_id)
        while len(self._saved) <= number:
            self._add(self.get_trial(self.get_trial_id_from_study_id_trial_number(study_id, len(self._saved))))
        now = self.get_trial(trial_id)
        self._update(self._disk_ids[number], self._saved[number], now)
        self._saved[number] = _snapshot(now)

    def get_study_id_of(self, trial_id: int) -> int:
        """Returns the study that a trial belongs to."""
        return self._trial_id_to_study_id_and_number[trial_id][0]

    def close(self) -> None:
        """Closes the connection."""
        if self.database is not None:
            self.database.close()

    def _add(self, trial: FrozenTrial) -> None:
        assert self.disk is not None
        with suppress(KeyError):
            self.disk.get_trial_id_from_study_id_trial_number(self._disk_study_id, trial.number)
            raise StudyError(
                f"study: another program has added trials to it beside this search, which wanted to add trial "
                f"{trial.number}; end that program, then go on with --resume"
            )
        self._disk_ids.append(self.disk.create_new_trial(self._disk_study_id, template_trial=_as_booked(trial)))
        self._saved.append(_snapshot(trial))

    def _update(self, disk_id: int, was: FrozenTrial, now: FrozenTrial) -> None:
        assert self.disk is not None
        if was.state is TrialState.WAITING and now.state is not TrialState.WAITING:
            self.disk.set_trial_state_values(disk_id, TrialState.RUNNING)
        for name in now.params.keys() - was.params.keys():
            distribution = now.distributions[name]
            self.disk.set_trial_param(disk_id, name, distribution.to_internal_repr(now.params[name]), distribution)
        for key, value in now.user_attrs.items():
            if key not in was.user_attrs or was.user_attrs[key] != value:
                self.disk.set_trial_user_attr(disk_id, key, value)
        for key, value in now.system_attrs.items():
            if key not in was.system_attrs or was.system_attrs[key] != value:
                self.disk.set_trial_system_attr(disk_id, key, value)
        if now.state.is_finished() and not was.state.is_finished():
            booked = _as_booked(now)
            self.disk.set_trial_state_values(disk_id, booked.state, booked.values)


def _as_told(trial: FrozenTrial) -> FrozenTrial:
    """Returns the trial as the sampler sees it."""
    told = trial.user_attrs.get(REPORTED)
    if told is None or trial.state is not TrialState.FAIL:
        return trial
    seen = copy.copy(trial)
    seen.state, seen.values = TrialState.COMPLETE, list(told)
    return seen


def _as_booked(trial: FrozenTrial) -> FrozenTrial:
    """Returns the trial as the database has it."""
    if REPORTED not in trial.user_attrs or trial.state is not TrialState.COMPLETE:
        return trial
    booked = copy.copy(trial)
    booked.state, booked.values = TrialState.FAIL, None
    return booked


def _snapshot(trial: FrozenTrial) -> FrozenTrial:
    # Optuna's `Trial` writes into the mappings of the very object that memory holds.
    taken = copy.copy(trial)
    taken.params, taken.user_attrs, taken.system_attrs = (
        dict(trial.params),
        dict(trial.user_attrs),
        dict(trial.system_attrs),
    )
    return taken


def open_database(url: str, *, patience_s: float = LOCK_PATIENCE_S) -> PatientDatabase:
    """Returns the database at `url`.

    Args:
        url: A database URL.
        patience_s: How long a locked database is waited for, seconds.

    Raises:
        StudyError: It cannot be used. Its methods raise the same.
    """
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        # SQLite waits by itself, but not where waiting might be for ever; then it is asked again.
        arguments = {"connect_args": {"timeout": max(patience_s / 4, 0.1)}} if sqlite else {}
        patience = Patience(parsed.render_as_string(hide_password=True), patience_s)
        database = patience.call(lambda: _CheckedDatabase(url, engine_kwargs=arguments))
    except (SQLAlchemyError, ValueError) as error:  # ValueError: of a port or a setting that is no number
        shown = _PASSWORD.sub(r"\1***@", url)
        raise StudyError(
            f"--storage: '{shown}' is no database URL ({error}); give one such as sqlite:///study.db"
        ) from error
    return PatientDatabase(database, patience)


class _CheckedDatabase(optuna.storages.RDBStorage):
    """Writes a trial's choices without a look at the database: `LedgerStorage` has checked them in memory.

    Optuna looks the trial and an earlier choice of the same name up for each one, the latter in a table without an
    index for it: in a long study, most of what a proposal costs.
    """

    def _set_trial_param_without_commit(  # noqa: PLR0917 - as Optuna calls it
        self,
        session: Any,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None = None,
    ) -> None:
        del previous_distribution
        row = TrialParamModel(
            trial_id=trial_id,
            param_name=param_name,
            param_value=param_value_internal,
            distribution_json=distribution_to_json(distribution),
        )
        session.add(row)


class Patience:
    """Calls a database until it is not locked, and says in one line what it cannot do.

    Args:
        shown: The database as people may see it, without a password.
        patience_s: How long it is waited for, seconds.
    """

    def __init__(self, shown: str, patience_s: float) -> None:
        self._shown = shown
        self.patience_s = patience_s

    def call(self, function: Callable[[], Any]) -> Any:
        """Returns what `function` returns.

        Raises:
            StudyError: The database cannot do it, or is still locked.
        """
        deadline = time.monotonic() + self.patience_s
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
                f", and stayed so for {self.patience_s:.0f} s; end the program that holds it, then go on with --resume"
            )
        if "readonly database" in cause:
            return "; make the file and its folder writable, then go on with --resume"
        return f"; {_WAY_OUT}"


class PatientDatabase:
    """Has every method of Optuna's `RDBStorage`, each called through `Patience`."""

    def __init__(self, database: optuna.storages.RDBStorage, patience: Patience) -> None:
        self._database = database
        self.patience = patience

    def close(self) -> None:
        """Closes the connection."""
        self._database.remove_session()
        self._database.engine.dispose()

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._database, name)

        def patiently(*arguments: Any, **keywords: Any) -> Any:
            return self.patience.call(lambda: member(*arguments, **keywords))

        return patiently
