"""All uses of Optuna's private API, as read in Optuna 5.0.0.

Optuna may change private names in any release. `tests/test_optuna_private.py` fails when it does: read the new
version's source, adapt this module, and name that version above.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, cast

from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import BaseSampler
from optuna.samplers._ga import BaseGASampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb.models import TrialModel, TrialParamModel, TrialUserAttributeModel
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES as METRIC_NAMES
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

__all__ = [
    "METRIC_NAMES",
    "MemoryStorage",
    "TrialModel",
    "TrialUserAttributeModel",
    "UncheckedDatabase",
    "constraint_list",
    "contains",
    "is_genetic",
    "planned_trial",
    "restrict_study",
    "study_id_of",
    "trial_id_of",
    "without_constraint_list",
]


def study_id_of(study: Study) -> int:
    """Return the study's identifier in its storage."""
    return study._study_id


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """Return the trial's identifier in its storage."""
    return trial._trial_id


def planned_trial(params: Mapping[str, Any], *, user_attrs: Mapping[str, Any]) -> FrozenTrial:
    """Return a template of a running trial whose suggestions return given values, as `Study.enqueue_trial` plans it.

    Unlike an enqueued trial, it never waits in the storage for the next proposal.

    Args:
        params: Values to suggest, by name of the parameter.
        user_attrs: User attributes of the trial.
    """
    return create_trial(
        state=TrialState.RUNNING, system_attrs={"fixed_params": dict(params)}, user_attrs=dict(user_attrs)
    )


class MemoryStorage(InMemoryStorage):
    """Optuna's storage in memory, with access to what it keeps about trials and parameters."""

    def study_of_trial(self, trial_id: int) -> int:
        """Return the identifier of the study that a trial belongs to."""
        return self._trial_id_to_study_id_and_number[trial_id][0]

    def add_distributions(self, study_id: int, distributions: Mapping[str, BaseDistribution]) -> None:
        """Register the distributions of stored parameters, so that incompatible ones are rejected later.

        `set_trial_param` registers them, `create_new_trial` with a template does not.
        """
        self._studies[study_id].param_distribution.update(distributions)


class UncheckedDatabase(RDBStorage):
    """Optuna's database, which writes a trial's parameters without checking them against earlier ones.

    Optuna looks up the trial and an earlier parameter of the same name for each parameter, the latter in a table
    without an index for it. In a long study, this takes most of the time of a proposal. The mirror in memory
    (`search.study.memory_mirror`) has checked the parameters already.
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

    def reopen_trials(self, study_id: int, numbers: Sequence[int], *, without: Sequence[str]) -> None:
        """Turn ended trials into running ones; Optuna itself never does.

        Args:
            study_id: Identifier of the study.
            numbers: Numbers of the trials.
            without: Keys of the user attributes to remove.
        """
        session = self.scoped_session()
        chosen = TrialModel.study_id == study_id, TrialModel.number.in_(numbers)
        for trial in session.query(TrialModel).filter(*chosen):
            trial.state, trial.datetime_complete = TrialState.RUNNING, None
            attributes = TrialUserAttributeModel.trial_id == trial.trial_id, TrialUserAttributeModel.key.in_(without)
            session.query(TrialUserAttributeModel).filter(*attributes).delete(synchronize_session=False)
        session.commit()


def constraint_list(system_attrs: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the constraints of a trial in Optuna's old format, which is all that optuna-dashboard 0.21 reads.

    Args:
        system_attrs: System attributes of the trial, in the format of Optuna 5.
    """
    values = [value for key, value in system_attrs.items() if key.startswith(f"{_CONSTRAINTS_KEY}:")]
    return {_CONSTRAINTS_KEY: values} if values else {}


def without_constraint_list(system_attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return system attributes without `constraint_list`: Optuna would count each constraint twice."""
    return {key: value for key, value in system_attrs.items() if key != _CONSTRAINTS_KEY}


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution includes a value.

    Args:
        distribution: Distribution of a parameter.
        value: Value as a trial's `params` hold it; any type is accepted.
    """
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def is_genetic(sampler: BaseSampler) -> bool:
    """Return whether a sampler keeps generations, and so has a method `get_trial_generation(study, trial)`."""
    return isinstance(sampler, BaseGASampler)


def restrict_study(study: Study, trials: Sequence[FrozenTrial]) -> Study:
    """Return a view of a study in which samplers see only some of its trials.

    Args:
        study: Study to read everything else from.
        trials: Visible trials, in the order of their numbers.
    """
    return cast("Study", _RestrictedStudy(study, trials))


class _RestrictedStudy:
    """A study whose `_get_trials`, the method that Optuna's samplers read trials with, returns some trials only."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        del deepcopy, use_cache
        return [trial for trial in self._trials if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)
