"""The Optuna study of a run: ask for trials, assign, reject and end them. The only module that writes a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_distill.config import SamplerConfig
from nas_distill.errors import RunError, SpaceError
from nas_distill.objectives import Objective
from nas_distill.optuna_private import planned_trial, study_id_of, trial_id_of
from nas_distill.records import Cost, StudentSpec, TeacherRecord, TrialRecord, TrialStatus, TrialTask
from nas_distill.records.base import seal
from nas_distill.search.samplers.guarded import SamplerError, make_sampler
from nas_distill.search.study import metadata
from nas_distill.search.study.files import RecordReader, StudyFiles
from nas_distill.search.study.fingerprint import Fingerprint
from nas_distill.search.study.log import RESULT, TASK
from nas_distill.search.study.memory_mirror import REPORTED, MirroredStorage
from nas_distill.search.study.point_queue import PointQueue
from nas_distill.search.study.reported_values import reported_values
from nas_distill.search.study.shown_values import shown_of_record, shown_of_task

_REJECTION, _POINT = "rejection", "point"


StudyTrial = Trial
"""Optuna's trial, the type that `StudyLedger.ask` returns."""


class StudyLedger:
    """A study opened for searching.

    A trial's user attributes hold its `task` once it is assigned and its `result` once it has ended, both as JSON
    (`TrialTask`, `TrialResult`). A rejected candidate has `rejection`, one line, and `spec` and `cost` as far as they
    are known. It is reported as PRUNED with its violated constraints, from which the sampler learns; a duplicate as
    FAIL, from which the sampler does not learn. A stopped trial is FAIL in the database, whatever value is reported to
    the sampler (`memory_mirror.REPORTED`). A trial is in the database once its candidate is assigned or rejected.

    Args:
        storage: Optuna storage URL; None keeps the study in memory.
        name: Name of the study.
        objectives: Objectives, in the order of the trials' values.
        seed: Seed of the sampler. A reopened study continues with fresh random numbers.
        sampler: Sampler, and the values that are reported for stopped trials.
        files: The run's own files of the study; None for none. Where a record in the database is damaged, theirs is
            used.

    Raises:
        ConfigError: The sampler cannot be created.
        RunError: Another version of nas_distill wrote the study.
        StudyError: The storage cannot be used, or holds a study of this name with other objectives. Every method
            raises this error when the storage fails later.
    """

    def __init__(
        self,
        storage: str | None,
        name: str,
        objectives: Sequence[Objective],
        seed: int,
        sampler: SamplerConfig | None = None,
        *,
        files: StudyFiles | None = None,
    ) -> None:
        self._records = RecordReader(files)
        sampler = sampler or SamplerConfig()
        self._objectives = tuple(objectives)
        self._stopped_trial_value = sampler.stopped_trial_value
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = MirroredStorage(storage, None if files is None else files.log)
        self._study = self._opened(name)
        self._study_id = study_id_of(self._study)
        trials = self._trials()
        mixed = _mixed_seed(seed, len(trials))
        self._sampler = make_sampler(sampler.name, mixed)
        # A seed of its own: many samplers start with random draws, which would repeat those of the same seed.
        self._random_sampler = make_sampler("random", _mixed_seed(mixed, 1))
        self._points = PointQueue(metadata.points_of(self._study), _tried_points(trials))
        self._rejected = sum(_REJECTION in trial.user_attrs for trial in trials)

    def _opened(self, name: str) -> optuna.Study:
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=[objective.direction for objective in self._objectives],
            sampler=RandomSampler(),  # replaced at every proposal
        )
        metadata.agree_on_schema_version(study)
        metadata.agree_on_objectives(study, [objective.name for objective in self._objectives])
        self._storage.name_metrics([objective.name for objective in self._objectives])
        return study

    def set_teacher(self, teacher: TeacherRecord) -> None:
        """Store the teacher.

        Raises:
            StudyError: The study was searched with another teacher.
        """
        metadata.agree_on_teacher(self._study, teacher)

    def set_fingerprint(self, fingerprint: Fingerprint) -> tuple[str, ...]:
        """Store what else all trials have in common; see `metadata.agree_on_fingerprint`."""
        return metadata.agree_on_fingerprint(self._study, fingerprint)

    def set_initial_points(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Store the initial points of a study without trials: values by name of the parameter, in order."""
        metadata.set_initial_points(self._study, points)
        self._points = PointQueue(metadata.points_of(self._study), ())

    @property
    def num_trials(self) -> int:
        """Number of trials, including rejected candidates."""
        return len(self._trials())

    def ask(self, *, at_random: bool = False) -> Trial:
        """Return a new trial that suggests parameters.

        Args:
            at_random: Draw the parameters uniformly at random instead of using the sampler.

        Raises:
            SamplerError: The sampler fails.
        """
        self._study.sampler = self._random_sampler if at_random else self._sampler
        try:
            trial = self._ask_initial_point() if self._points else self._study.ask()
            if at_random:
                self._sampler.adopt(self._study, self._trial(trial.number))
            return trial
        except SamplerError:
            self._reject_unassigned("the sampler failed")
            raise

    def _ask_initial_point(self) -> Trial:
        # Not `enqueue_trial`: an initial point counts as tried only once its candidate is assigned or rejected.
        index, point = self._points.next()
        return self._create(planned_trial(point, user_attrs={_POINT: index}))

    def repeat(self, number: int) -> Trial:
        """Return a new running trial with the parameters and constraints of an earlier trial.

        The sampler treats it as any other trial: as one more value for parameters that it knows already.

        Args:
            number: Number of the earlier trial.

        Raises:
            RunError: The study has no trial of this number.
        """
        earlier = self._trial(number)
        # Not `enqueue_trial`: a process that dies after it leaves a waiting trial that the next proposal takes.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=earlier.params,
            distributions=earlier.distributions,
            constraints=earlier.constraints,
        )
        return self._create(template)

    def _create(self, template: FrozenTrial) -> Trial:
        return Trial(self._study, self._storage.create_new_trial(self._study_id, template_trial=template))

    def assign(self, trial: Trial, task: TrialTask, violations: Mapping[str, float]) -> None:
        """Store the trial's task, before a worker receives it.

        Args:
            trial: Running trial.
            task: Task of the trial.
            violations: Value of each constraint by name, 0 or below where it holds.
        """
        for name, value in violations.items():
            trial.set_constraint(name, value)
        trial.set_user_attr(TASK, seal(task))
        for name, shown in shown_of_task(task).items():
            trial.set_user_attr(name, shown)
        self._storage.save(trial_id_of(trial))

    def reject(
        self,
        trial: Trial,
        reason: str,
        *,
        spec: StudentSpec | None = None,
        cost: Cost | None = None,
        violations: Mapping[str, float] | None = None,
        again: bool = False,
    ) -> None:
        """End a trial whose candidate is not trained.

        Args:
            trial: Running trial.
            reason: Why the candidate is not trained, one line.
            spec: The candidate, if the space returned one.
            cost: Cost of the candidate, if known.
            violations: Value of each constraint by name, above 0 where it is violated. Without violations, the sampler
                learns nothing from the trial.
            again: Whether the reason lies outside the candidate; an initial point is then tried again.
        """
        if spec is not None:
            trial.set_user_attr("spec", spec.model_dump_json())
        if cost is not None:
            trial.set_user_attr("cost", cost.model_dump_json())
        for name, value in (violations or {}).items():
            trial.set_constraint(name, value)
        if again:
            self._requeue_point(trial_id_of(trial))
        self._reject(trial.number, trial_id_of(trial), reason, TrialState.PRUNED if violations else TrialState.FAIL)

    def note_space_failure(self) -> None:
        """Store that the space raised an error, so that it may be corrected; see `metadata`."""
        metadata.note_space_failure(self._study)

    def tell(self, record: TrialRecord) -> None:
        """Store the result of an ended trial and report its values to the sampler; repeated calls change nothing.

        Args:
            record: Record of an assigned trial that has ended.

        Raises:
            RunError: The study has no trial of this number.
        """
        frozen = self._trial(record.number)
        if frozen.state is not TrialState.RUNNING:
            return
        self._storage.set_trial_user_attr(trial_id_of(frozen), RESULT, seal(record.result()))
        for name, shown in shown_of_record(record).items():
            self._storage.set_trial_user_attr(trial_id_of(frozen), name, shown)
        values = reported_values(record, self._objectives, self._stopped_trial_value)
        if values is not None and record.status is TrialStatus.STOPPED:
            self._storage.set_trial_user_attr(trial_id_of(frozen), REPORTED, list(values))
        self._end(record.number, TrialState.FAIL if values is None else TrialState.COMPLETE, values)

    def unfinished(self) -> list[TrialTask]:
        """Return the tasks of the running trials, and reject trials that were interrupted before their assignment."""
        self._reject_unassigned("the search was interrupted before the candidate was assigned")
        tasks = []
        for frozen in self._trials(TrialState.RUNNING):
            task = self._records.task_of(frozen)
            if task is None:
                self._reject(frozen.number, trial_id_of(frozen), "its record is damaged", TrialState.FAIL)
            else:
                tasks.append(task)
        return tasks

    def ended(self) -> list[TrialRecord]:
        """Return the records of all ended trials, in the order in which they ended."""
        ended = [frozen for frozen in self._trials() if RESULT in frozen.user_attrs and frozen.state.is_finished()]
        ended.sort(key=lambda frozen: frozen.datetime_complete.timestamp() if frozen.datetime_complete else 0.0)
        return [record for record in map(self._records.record_of, ended) if record is not None]

    def assigned(self) -> list[TrialTask]:
        """Return the tasks of all assigned trials, whatever their state."""
        tasks = (self._records.task_of(frozen) for frozen in self._trials() if TASK in frozen.user_attrs)
        return [task for task in tasks if task is not None]

    def numbers(self) -> set[int]:
        """Return the numbers of all trials, including rejected candidates."""
        return {frozen.number for frozen in self._trials()}

    @property
    def damaged(self) -> set[int]:
        """Numbers of the trials whose records are damaged in the database and in the run's files; they are left out."""
        return self._records.damaged

    def rejected(self) -> int:
        """Return the number of rejected candidates."""
        return self._rejected

    def withdraw(self) -> None:
        """Delete the study if this ledger created it, so that no metadata remain of a search that never started."""
        if self._storage.is_new:
            self._storage.delete_study(self._study_id)

    def close(self) -> None:
        """Close the connection."""
        self._storage.close()

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _trial(self, number: int) -> FrozenTrial:
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            raise RunError(
                "the study has no trial of this number; restore the study and the run directory from the same time",
                code="run.trial_not_in_study",
                field=f"trials/{number:05d}",
            ) from None
        return self._storage.get_trial(trial_id)

    def _reject_unassigned(self, reason: str) -> None:
        for frozen in self._trials(TrialState.RUNNING):
            if TASK not in frozen.user_attrs:
                self._requeue_point(trial_id_of(frozen))
                self._reject(frozen.number, trial_id_of(frozen), reason, TrialState.FAIL)

    def _requeue_point(self, trial_id: int) -> None:
        index = self._storage.get_trial(trial_id).user_attrs.get(_POINT)
        if index is not None:
            self._storage.set_trial_user_attr(trial_id, _POINT, None)
            self._points.return_point(index)

    def _reject(self, number: int, trial_id: int, reason: str, state: TrialState) -> None:
        self._storage.set_trial_user_attr(trial_id, _REJECTION, reason)
        self._end(number, state, None)
        self._rejected += 1

    def _end(self, number: int, state: TrialState, values: Sequence[float] | None) -> None:
        self._study.sampler = self._sampler  # it learns from all trials, whichever sampler proposed them
        self._study.tell(number, values, state)
        self._storage.save(trial_id_of(self._trial(number)))


def gave_up(error: Exception) -> bool:
    """Return whether a space rejected its own candidate by raising Optuna's `TrialPruned`."""
    return isinstance(error, SpaceError) and isinstance(error.__cause__, optuna.TrialPruned)


def _mixed_seed(seed: int, num_trials: int) -> int:
    # The random state of a sampler is not stored: with the same seed, a reopened study would repeat its first trials.
    return int(np.random.SeedSequence((seed, num_trials)).generate_state(1)[0])


def _tried_points(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the positions of the initial points whose candidates were assigned or rejected."""
    done = [trial.user_attrs for trial in trials if TASK in trial.user_attrs or _REJECTION in trial.user_attrs]
    return {attributes[_POINT] for attributes in done if attributes.get(_POINT) is not None}
