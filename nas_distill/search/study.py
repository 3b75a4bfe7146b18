"""The Optuna study of a run: ask, assign, refuse, tell, reconcile. The one place that writes a study."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.errors import RunError, StudyError
from nas_distill.frozen import parse_record
from nas_distill.objectives import Objective
from nas_distill.records import Cost, StudentSpec, TeacherRecord, TrialRecord, TrialStatus
from nas_distill.workplace import Assignment

_LOCK_TIMEOUT_S = 60
_STATES = {
    TrialStatus.COMPLETE: TrialState.COMPLETE,
    TrialStatus.STOPPED: TrialState.FAIL,
    TrialStatus.FAILED: TrialState.FAIL,
}


class StudyLedger:
    """A study opened for searching.

    What each trial is, cost and came to lies in its user attributes: `assignment`, `spec`, `cost`, then `record`, as
    JSON; or `refusal`, one line, for a candidate that was never trained. A refused candidate is told as PRUNED with
    its violated constraints, from which the sampler learns; a repeated one as FAIL, from which it does not.

    Args:
        storage: Optuna storage URL.
        name: Study name.
        objectives: In the order of the values.
        seed: Of the sampler; a reopened study goes on with fresh random numbers.

    Raises:
        StudyError: The storage cannot be used, or holds a study of this name with other objectives.
    """

    def __init__(self, storage: str, name: str, objectives: Sequence[Objective], seed: int) -> None:
        self._objectives = tuple(objectives)
        self._url = storage
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._storage_errors():
            self._storage = optuna.storages.RDBStorage(storage, engine_kwargs=_engine_arguments(storage))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[objective.direction for objective in objectives],
                load_if_exists=True,
            )
            names = [objective.name for objective in objectives]
            stored = self._study.user_attrs.get("objectives")
            if stored is None:
                self._study.set_user_attr("objectives", names)
            elif stored != names:
                raise StudyError(
                    f"study '{name}': was searched for {', '.join(stored)}, not {', '.join(names)}; "
                    "choose another --out"
                )
            mixed = _mixed_seed(seed, len(self._study.trials))
            self._sampler = _tpe_sampler(mixed)
            self._random_sampler = optuna.samplers.RandomSampler(seed=mixed)

    def set_teacher(self, teacher: TeacherRecord) -> None:
        """Notes the teacher that the study's values are measured against.

        Raises:
            StudyError: The study was searched with another teacher.
        """
        with self._storage_errors():
            stored = self._study.user_attrs.get("teacher")
            if stored is None:
                self._study.set_user_attr("teacher", teacher.model_dump_json())
                return
        known = parse_record(TeacherRecord, stored, origin="the study's teacher")
        if known.weights_sha256 != teacher.weights_sha256:
            raise StudyError(
                f"study '{self._study.study_name}': was searched with another teacher (weights "
                f"{known.weights_sha256[:12]}, now {teacher.weights_sha256[:12]}); choose another --out"
            )

    @property
    def num_trials(self) -> int:
        """Trials of the study, refused ones included."""
        with self._storage_errors():
            return len(self._trials())

    def ask(self, *, at_random: bool = False) -> Trial:
        """Returns a new trial to be asked for choices.

        Args:
            at_random: Draw its choices uniformly, whatever the sampler has learnt.
        """
        with self._storage_errors():
            self._study.sampler = self._random_sampler if at_random else self._sampler
            return self._study.ask()

    def repeat(self, number: int) -> Trial:
        """Returns a new trial with an earlier one's choices and constraints, in flight like one that was asked for.

        The sampler meets it as it meets any trial: one more value at choices that it knows already.

        Raises:
            RunError: The study has no trial of this number.
        """
        with self._storage_errors():
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

    def assign(self, trial: Trial, assignment: Assignment, violations: Mapping[str, float]) -> None:
        """Notes that the trial's candidate goes to a worker."""
        with self._storage_errors():
            self._describe(trial, assignment.spec, assignment.cost, violations)
            trial.set_user_attr("assignment", assignment.model_dump_json())

    def refuse(
        self,
        trial: Trial,
        reason: str,
        *,
        spec: StudentSpec | None = None,
        cost: Cost | None = None,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Notes that the trial's candidate is not trained.

        Args:
            trial: Asked before.
            reason: One line.
            spec: The candidate, if there is one.
            cost: Its cost, if known.
            violations: Constraint values, above 0 where violated; without any the sampler learns nothing.
        """
        with self._storage_errors():
            trial.set_user_attr("refusal", reason)
            if spec is not None:
                self._describe(trial, spec, cost, violations or {})
            self._study.tell(trial, state=TrialState.PRUNED if violations else TrialState.FAIL)

    def tell(self, record: TrialRecord) -> None:
        """Acknowledges an ended trial; telling it again changes nothing."""
        with self._storage_errors():
            trial = self._running_trial(record.number)
            if trial is None:
                return
            trial.set_user_attr("record", record.model_dump_json())
            state = _STATES[record.status]
            values = None
            if record.metrics is not None:
                values = [objective_value(record, objective) for objective in self._objectives]
            self._study.tell(trial, values, state)

    def unfinished(self) -> list[Assignment]:
        """Returns the assignments of trials in flight; a trial cut off before it was assigned is ended as refused."""
        assignments = []
        with self._storage_errors():
            for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                text = frozen.user_attrs.get("assignment")
                if text is None:
                    trial = Trial(self._study, frozen._trial_id)
                    self.refuse(trial, "the search was cut off before the candidate was assigned")
                else:
                    assignments.append(parse_record(Assignment, text, origin=f"trial {frozen.number} of the study"))
        return assignments

    def ended(self) -> list[TrialRecord]:
        """Returns the records of all acknowledged trials."""
        with self._storage_errors():
            texts = [
                (frozen.number, frozen.user_attrs["record"])
                for frozen in self._trials()
                if "record" in frozen.user_attrs and frozen.state.is_finished()
            ]
        return [parse_record(TrialRecord, text, origin=f"trial {number} of the study") for number, text in texts]

    def assigned(self) -> list[Assignment]:
        """Returns everything that was handed out, whatever became of it."""
        with self._storage_errors():
            texts = [(trial.number, trial.user_attrs.get("assignment")) for trial in self._trials()]
        return [
            parse_record(Assignment, text, origin=f"trial {number} of the study")
            for number, text in texts
            if text is not None
        ]

    def refused(self) -> int:
        """Returns how many candidates were refused."""
        with self._storage_errors():
            return sum("refusal" in frozen.user_attrs for frozen in self._trials())

    def close(self) -> None:
        """Closes the connection."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _trial(self, number: int) -> FrozenTrial:
        frozen = next((trial for trial in reversed(self._trials()) if trial.number == number), None)
        if frozen is None:
            raise RunError(
                f"trials/{number:05d}: the study has no such trial; the run directory belongs to another study"
            )
        return frozen

    def _running_trial(self, number: int) -> Trial | None:
        frozen = self._trial(number)
        if frozen.state is not TrialState.RUNNING:
            return None
        return Trial(self._study, frozen._trial_id)

    def _describe(self, trial: Trial, spec: StudentSpec, cost: Cost | None, violations: Mapping[str, float]) -> None:
        trial.set_user_attr("spec", spec.model_dump_json())
        if cost is not None:
            trial.set_user_attr("cost", cost.model_dump_json())
        for name, value in violations.items():
            trial.set_constraint(name, value)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
            cause = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
            shown = make_url(self._url).render_as_string(hide_password=True)
            raise StudyError(
                f"{shown}: {cause}; check --storage (or resources.storage in the run's config.yaml)"
            ) from error


def objective_value(record: TrialRecord, objective: Objective) -> float:
    """Returns the value of `objective` for a complete trial.

    Raises:
        ValueError: It is not finite.
    """
    source = record.cost if objective.kind == "cost" else record.metrics
    value = float(getattr(source, objective.name))
    if not math.isfinite(value):
        raise ValueError(f"trial {record.number}: {objective.name} is {value}")
    return value


def _mixed_seed(seed: int, num_trials: int) -> int:
    # A sampler's random state is not stored: with the bare seed, a reopened study would propose its first trials again.
    return int(np.random.SeedSequence((seed, num_trials)).generate_state(1)[0])


def _tpe_sampler(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group` has been since 2020
        return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


def _engine_arguments(storage: str) -> dict[str, object]:
    try:
        sqlite = make_url(storage).get_backend_name() == "sqlite"
    except SQLAlchemyError as error:
        raise StudyError(
            f"--storage: '{storage}' is no database URL ({error}); give one such as sqlite:///study.db"
        ) from error
    return {"connect_args": {"timeout": _LOCK_TIMEOUT_S}} if sqlite else {}
