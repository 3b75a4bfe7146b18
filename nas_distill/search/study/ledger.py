"""The Optuna study of a run: ask, assign, refuse, tell, reconcile. The one place that writes a study."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_distill.config import SamplerConfig
from nas_distill.errors import RunError, SpaceError
from nas_distill.models.latency import Latency
from nas_distill.objectives import Objective
from nas_distill.records import Cost, StudentSpec, TeacherRecord, TrialRecord, TrialResult, TrialStatus, TrialTask
from nas_distill.records.base import parse_record
from nas_distill.search.samplers.guarded import SamplerError, make_sampler
from nas_distill.search.study import metadata
from nas_distill.search.study.database import REPORTED, LedgerStorage
from nas_distill.search.study.fingerprint import Fingerprint
from nas_distill.search.study.reported_values import reported_values

_TASK, _RESULT, _REJECTION, _POINT = "task", "result", "rejection", "point"


StudyTrial = Trial
"""Optuna's trial, as `StudyLedger.ask` returns it."""


class StudyLedger:
    """A study opened for searching.

    A trial's user attributes hold its `task` once it is assigned and its `result` once it has ended, both as JSON
    (`TrialTask`, `TrialResult`). A rejected candidate has `rejection`, one line, and `spec` and `cost` as far as they
    are known. It is reported as PRUNED with its violated constraints, from which the sampler learns; a duplicate as
    FAIL, from which the sampler does not learn. A stopped trial is FAIL in the database, whatever value is reported to
    the sampler (`database.REPORTED`). A trial is in the database once its candidate is assigned or rejected.

    Args:
        storage: Optuna storage URL; None keeps the study in memory.
        name: Study name.
        objectives: In the order of the values.
        seed: Of the sampler; a reopened study goes on with fresh random numbers.
        sampler: Who proposes, and what it is told of stopped trials.

    Raises:
        ConfigError: The sampler cannot be made.
        StudyError: The storage cannot be used, or holds a study of this name with other objectives. Every method
            raises it when the storage fails later.
    """

    def __init__(
        self,
        storage: str | None,
        name: str,
        objectives: Sequence[Objective],
        seed: int,
        sampler: SamplerConfig | None = None,
    ) -> None:
        sampler = sampler or SamplerConfig()
        self._objectives = tuple(objectives)
        self._stopped_trial_value = sampler.stopped_trial_value
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = LedgerStorage(storage)
        self._study = self._opened(name)
        trials = self._trials()
        mixed = _mixed_seed(seed, len(trials))
        self._sampler = make_sampler(sampler.name, mixed)
        # With a stream of its own: a sampler that draws at random, as many begin by doing, has drawn that of its seed.
        self._random_sampler = make_sampler("random", _mixed_seed(mixed, 1))
        self._points = _untried(metadata.points_of(self._study), trials)
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
        return study

    def set_teacher(self, teacher: TeacherRecord) -> None:
        """Notes the teacher; raises StudyError when the study was searched with another."""
        metadata.agree_on_teacher(self._study, teacher)

    def set_fingerprint(self, fingerprint: Fingerprint) -> tuple[str, ...]:
        """Notes what else the trials have in common; see `metadata.agree_on_fingerprint`."""
        return metadata.agree_on_fingerprint(self._study, fingerprint)

    def set_initial_points(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Notes candidates to try first, of a study without trials: names of parameters to values, in order."""
        metadata.set_initial_points(self._study, points)
        self._points = _untried(metadata.points_of(self._study), ())

    @property
    def num_trials(self) -> int:
        """Trials of the study, refused ones included."""
        return len(self._trials())

    def ask(self, *, at_random: bool = False) -> Trial:
        """Returns a new trial to be asked for choices.

        Args:
            at_random: Draw its choices uniformly, whatever the sampler has learnt.
        """
        self._study.sampler = self._random_sampler if at_random else self._sampler
        try:
            trial = Trial(self._study, self._row_of_point()) if self._points else self._study.ask()
            if at_random:
                self._sampler.adopt(self._study, self._trial(trial.number))
            return trial
        except SamplerError:
            self._reject_unassigned("the sampler failed")
            raise

    def _row_of_point(self) -> int:
        # Not by `enqueue_trial`, as in `repeat`: a point counts as tried once its candidate is assigned or refused.
        index, point = self._points.popleft()
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, system_attrs={"fixed_params": point}, user_attrs={_POINT: index}
        )
        return self._storage.create_new_trial(self._study._study_id, template_trial=template)

    def repeat(self, number: int) -> Trial:
        """Returns a new trial with an earlier one's choices and constraints, in flight like one that was asked for.

        The sampler meets it as it meets any trial: one more value at choices that it knows already.

        Raises:
            RunError: The study has no trial of this number.
        """
        earlier = self._trial(number)
        # Not by `enqueue_trial`: a process that dies after it leaves a waiting trial that the next proposal takes.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=earlier.params,
            distributions=earlier.distributions,
            constraints=earlier.constraints,
        )
        trial_id = self._storage.create_new_trial(self._study._study_id, template_trial=template)
        return Trial(self._study, trial_id)

    def assign(self, trial: Trial, task: TrialTask, violations: Mapping[str, float]) -> None:
        """Notes that the trial's candidate goes to a worker."""
        for name, value in violations.items():
            trial.set_constraint(name, value)
        trial.set_user_attr(_TASK, task.model_dump_json())
        self._storage.save(trial._trial_id)

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
        """Notes that the trial's candidate is not trained.

        Args:
            trial: Asked before.
            reason: One line.
            spec: The candidate, if there is one.
            cost: Its cost, if known.
            violations: Constraint values, above 0 where violated; without any the sampler learns nothing.
            again: What refused it is no fault of the candidate's; one that was to be tried first still is.
        """
        if spec is not None:
            trial.set_user_attr("spec", spec.model_dump_json())
        if cost is not None:
            trial.set_user_attr("cost", cost.model_dump_json())
        for name, value in (violations or {}).items():
            trial.set_constraint(name, value)
        if again:
            self._release_point(trial._trial_id)
        self._reject(trial.number, trial._trial_id, reason, TrialState.PRUNED if violations else TrialState.FAIL)

    def note_latency(self, trial: Trial, latency: Latency) -> None:
        """Notes how long the trial's candidate takes for an image."""
        trial.set_user_attr("latency", latency.model_dump_json())

    def note_space_failure(self) -> None:
        """Notes that the space raised, so that it may be corrected (see `charter`)."""
        metadata.note_space_failure(self._study)

    def tell(self, record: TrialRecord) -> None:
        """Acknowledges an ended trial; telling it again changes nothing.

        Raises:
            RunError: The study has no trial of this number.
        """
        frozen = self._trial(record.number)
        if frozen.state is not TrialState.RUNNING:
            return
        self._storage.set_trial_user_attr(frozen._trial_id, _RESULT, record.result().model_dump_json())
        values = reported_values(record, self._objectives, self._stopped_trial_value)
        if values is not None and record.status is TrialStatus.STOPPED:
            self._storage.set_trial_user_attr(frozen._trial_id, REPORTED, list(values))
        self._end(record.number, TrialState.FAIL if values is None else TrialState.COMPLETE, values)

    def unfinished(self) -> list[TrialTask]:
        """Returns the assignments of trials in flight; a trial cut off before it was assigned is ended as refused."""
        self._reject_unassigned("the search was cut off before the candidate was assigned")
        return [_task_of(frozen) for frozen in self._trials(TrialState.RUNNING)]

    def ended(self) -> list[TrialRecord]:
        """Returns the records of all acknowledged trials, in the order in which they ended."""
        ended = [frozen for frozen in self._trials() if _RESULT in frozen.user_attrs and frozen.state.is_finished()]
        ended.sort(key=lambda frozen: frozen.datetime_complete.timestamp() if frozen.datetime_complete else 0.0)
        return [_record_of(frozen) for frozen in ended]

    def assigned(self) -> list[TrialTask]:
        """Returns everything that was handed out, whatever became of it."""
        return [_task_of(frozen) for frozen in self._trials() if _TASK in frozen.user_attrs]

    def rejected(self) -> int:
        """Returns how many candidates were refused."""
        return self._rejected

    def withdraw(self) -> None:
        """Removes the study, if it is this ledger that created it: nothing is agreed on where nothing was searched."""
        if self._storage.is_new:
            self._storage.delete_study(self._study._study_id)

    def close(self) -> None:
        """Closes the connection."""
        self._storage.close()

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _trial(self, number: int) -> FrozenTrial:
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        except KeyError:
            raise RunError(
                f"trials/{number:05d}: the study has no such trial; the run directory belongs to another study"
            ) from None
        return self._storage.get_trial(trial_id)

    def _reject_unassigned(self, reason: str) -> None:
        for frozen in self._trials(TrialState.RUNNING):
            if _TASK not in frozen.user_attrs:
                self._release_point(frozen._trial_id)
                self._reject(frozen.number, frozen._trial_id, reason, TrialState.FAIL)

    def _release_point(self, trial_id: int) -> None:
        index = self._storage.get_trial(trial_id).user_attrs.get(_POINT)
        if index is not None:
            self._storage.set_trial_user_attr(trial_id, _POINT, None)
            if index not in [queued for queued, _ in self._points]:
                self._points.appendleft((index, metadata.points_of(self._study)[index]))

    def _reject(self, number: int, trial_id: int, reason: str, state: TrialState) -> None:
        self._storage.set_trial_user_attr(trial_id, _REJECTION, reason)
        self._end(number, state, None)
        self._rejected += 1

    def _end(self, number: int, state: TrialState, values: Sequence[float] | None) -> None:
        self._study.sampler = self._sampler  # whoever proposed it, this one learns
        self._study.tell(number, values, state)
        self._storage.save(self._trial(number)._trial_id)


def _task_of(trial: FrozenTrial) -> TrialTask:
    return parse_record(TrialTask, trial.user_attrs[_TASK], origin=f"trial {trial.number} of the study")


def _record_of(trial: FrozenTrial) -> TrialRecord:
    origin = f"trial {trial.number} of the study"
    result = parse_record(TrialResult, trial.user_attrs[_RESULT], origin=origin)
    return TrialRecord.compose(_task_of(trial), result, origin=origin)


def gave_up(error: Exception) -> bool:
    """Whether an error of a space is its word, by Optuna's `TrialPruned`, that the candidate is none."""
    return isinstance(error, SpaceError) and isinstance(error.__cause__, optuna.TrialPruned)


def _mixed_seed(seed: int, num_trials: int) -> int:
    # A sampler's random state is not stored: with the bare seed, a reopened study would propose its first trials again.
    return int(np.random.SeedSequence((seed, num_trials)).generate_state(1)[0])


def _untried(points: Sequence[dict[str, Any]], trials: Sequence[FrozenTrial]) -> deque[tuple[int, dict[str, Any]]]:
    """Returns the points, with their places, whose candidates were neither assigned nor refused."""
    tried = {
        trial.user_attrs.get(_POINT) for trial in trials if _TASK in trial.user_attrs or _REJECTION in trial.user_attrs
    }
    return deque((index, point) for index, point in enumerate(points) if index not in tried)
