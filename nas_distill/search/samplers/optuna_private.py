"""All uses of Optuna's private API outside `analysis`, as read in Optuna 5.0.0.

Optuna may change private names in any release. `tests/search/samplers/test_optuna_private.py` fails when it does: read
the new version's source, adapt the functions here, and name that version above.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, cast

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._ga import BaseGASampler
from optuna.trial import FrozenTrial, TrialState


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
