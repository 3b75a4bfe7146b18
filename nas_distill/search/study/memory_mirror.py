"""A study that is read from memory and written to a database, once per step of the search.

Optuna writes each parameter of a trial in a transaction of its own and reads all trials many times per proposal: 25
transactions where one suffices. The search is the only writer of its study, so the copy in memory is authoritative. A
trial that was never saved does not exist after a crash.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_distill.errors import StudyError
from nas_distill.optuna_private import (
    METRIC_NAMES,
    MemoryStorage,
    constraint_list,
    trial_id_of,
    without_constraint_list,
)
from nas_distill.search.study.database import LOCK_TIMEOUT_S, open_database
from nas_distill.search.study.log import StudyLog

REPORTED = "reported"
"""User attribute of a trial that is FAIL in the database: the values reported to the sampler, by order of objectives.
"""


class MirroredStorage(MemoryStorage):
    """A storage in memory that `save` copies to a database.

    A trial with the attribute `REPORTED` is FAIL in the database, which people and other programs read, and COMPLETE
    with those values in memory, which the sampler reads. So the values that the sampler learns from are not mistaken
    for measurements.

    Args:
        url: Database URL; None keeps the study in memory only.
        log: Log of the study, which is written before the database; None for none.
        lock_timeout_s: Longest wait for a locked database, seconds.

    Attributes:
        is_new: Whether the database had no study of this name.

    Raises:
        StudyError: The database cannot be used. All methods raise this error.
    """

    def __init__(self, url: str | None, log: StudyLog | None = None, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        super().__init__()
        self._log = log
        self.database = None if url is None else open_database(url, lock_timeout_s=lock_timeout_s)
        self.disk = cast("BaseStorage | None", self.database)
        self.is_new = True
        self._disk_study_id = -1
        self._saved: list[FrozenTrial] = []
        self._disk_ids: list[int] = []

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create the study in memory, with everything that the database holds of a study of this name."""
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
            trial_id = super().create_new_trial(study_id, template_trial=_for_sampler(trial))
            self.add_distributions(study_id, trial.distributions)
            self._saved.append(_copy_of(self.get_trial(trial_id)))
            self._disk_ids.append(trial_id_of(trial))
        return study_id

    def name_metrics(self, names: Sequence[str]) -> None:
        """Name the objectives in the database, where Optuna's plots and optuna-dashboard look for the names."""
        if self.disk is not None:
            self.disk.set_study_system_attr(self._disk_study_id, METRIC_NAMES, list(names))

    def delete_study(self, study_id: int) -> None:
        """Delete the study in memory and in the database."""
        if self.disk is not None:
            self.disk.delete_study(self._disk_study_id)
        if self._log is not None:
            self._log.clear()
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of the study in memory and in the database."""
        if self._log is not None:
            self._log.note_attribute(key, value)
        if self.disk is not None:
            self.disk.set_study_user_attr(self._disk_study_id, key, value)
        super().set_study_user_attr(study_id, key, value)

    def save(self, trial_id: int) -> None:
        """Copy a trial to the database, together with earlier trials that were not saved yet."""
        if self.disk is None:
            return
        study_id, number = self.study_of_trial(trial_id), self.get_trial_number_from_id(trial_id)
        while len(self._saved) <= number:
            earlier = self.get_trial(self.get_trial_id_from_study_id_trial_number(study_id, len(self._saved)))
            if self._log is not None and earlier.number < number:
                self._log.note_trial(earlier)
            self._add(earlier)
        now = self.get_trial(trial_id)
        if self._log is not None:
            self._log.note_trial(now)
        self._update(self._disk_ids[number], self._saved[number], now)
        self._saved[number] = _copy_of(now)

    def close(self) -> None:
        """Close the connection."""
        if self.database is not None:
            self.database.close()

    def _add(self, trial: FrozenTrial) -> None:
        assert self.disk is not None
        with suppress(KeyError):
            self.disk.get_trial_id_from_study_id_trial_number(self._disk_study_id, trial.number)
            raise StudyError(
                f"another program added trial {trial.number} during this search; stop that program, then continue "
                "with --resume",
                code="study.other_writer",
                field="study",
            )
        stored = copy.copy(_for_database(trial))
        stored.system_attrs = trial.system_attrs | constraint_list(trial.system_attrs)
        self._disk_ids.append(self.disk.create_new_trial(self._disk_study_id, template_trial=stored))
        self._saved.append(_copy_of(trial))

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
        for key, value in (now.system_attrs | constraint_list(now.system_attrs)).items():
            if (was.system_attrs | constraint_list(was.system_attrs)).get(key) != value:
                self.disk.set_trial_system_attr(disk_id, key, value)
        if now.state.is_finished() and not was.state.is_finished():
            stored = _for_database(now)
            self.disk.set_trial_state_values(disk_id, stored.state, stored.values)


def _for_sampler(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial of the database as the sampler sees it."""
    seen = copy.copy(trial)
    seen.system_attrs = without_constraint_list(trial.system_attrs)
    reported = trial.user_attrs.get(REPORTED)
    if reported is None or trial.state is not TrialState.FAIL:
        return seen
    seen.state, seen.values = TrialState.COMPLETE, list(reported)
    return seen


def _for_database(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial in memory as the database stores it."""
    if REPORTED not in trial.user_attrs or trial.state is not TrialState.COMPLETE:
        return trial
    stored = copy.copy(trial)
    stored.state, stored.values = TrialState.FAIL, None
    return stored


def _copy_of(trial: FrozenTrial) -> FrozenTrial:
    # Optuna's `Trial` writes into the mappings of the same object that memory holds.
    copied = copy.copy(trial)
    copied.params, copied.user_attrs, copied.system_attrs = (
        dict(trial.params),
        dict(trial.user_attrs),
        dict(trial.system_attrs),
    )
    return copied
