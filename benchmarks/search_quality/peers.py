"""Other people's searches inside the simulator, each through its own objects, with nothing but the cluster left out.

All draw from the same space and recipe space, and are given rows by the same rule. A proposal over the table's limits
is told as an error, or a penalty, to those that can hear it, and the next one is asked for: no rival spends an epoch
on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import FixedTrial, TrialState

from benchmarks.common.cost_estimator import cost_of
from benchmarks.search_quality.curve_table import Row
from benchmarks.search_quality.our_search import Problem
from benchmarks.search_quality.simulator import EndedTrial, Proposal
from nas_distill.errors import SpaceError
from nas_distill.records import Cost, Recipe, StudentSpec, TrialStatus
from nas_distill.search.spaces.loading import propose
from nas_distill.search.spaces.recipes import propose_recipe

_ASKS = 1000
_GAP, _SIZE, _EPOCH = "gap_points", "num_params", "training_iteration"


def _candidate(problem: Problem, trial: Any) -> tuple[StudentSpec, Recipe]:
    return propose(problem.space, trial), propose_recipe(problem.recipes, trial, problem.base, problem.choices)


def _cost(problem: Problem, spec: StudentSpec) -> Cost | None:
    """Return what a candidate costs; None when it cannot be built."""
    try:
        return cost_of(spec, problem.shape)
    except SpaceError:
        return None


def _proposal(problem: Problem, number: int, spec: StudentSpec, recipe: Recipe) -> Proposal | None:
    """Return a proposal within the limits of the table, or None."""
    cost = _cost(problem, spec)
    if cost is None or problem.limits.rejection(cost) is not None:
        return None
    return Proposal(number=number, spec=spec, recipe=recipe, cost=cost)


class OptunaSearcher:
    """Optuna's ask and tell with one of its samplers.

    Args:
        problem: What it draws from.
        sampler: The sampler.
    """

    def __init__(self, problem: Problem, sampler: optuna.samplers.BaseSampler) -> None:
        self._problem = problem
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def ask(self) -> Proposal | None:
        for _ in range(_ASKS):
            trial = self._study.ask()
            found = _proposal(self._problem, trial.number, *_candidate(self._problem, trial))
            if found is not None:
                return found
            self._study.tell(trial, state=TrialState.FAIL)
        return None

    def tell(self, ended_trial: EndedTrial) -> None:
        if ended_trial.status is TrialStatus.COMPLETE:
            self._study.tell(ended_trial.number, [ended_trial.gap_points, ended_trial.row.cost.num_params])
        else:
            self._study.tell(ended_trial.number, state=TrialState.FAIL)


class RaySearch:
    """Ray's `OptunaSearch` on two metrics, as its users write it: a stopped trial is told its last result.

    It cannot be told of limits, and proposes nothing else once it has found that large students are good: what is over
    them is told as a student as large as the teacher that is always wrong, the penalty that its users write.

    Args:
        problem: What it draws from.
        seed: Of its sampler.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._problem = problem
        self._drawn: tuple[StudentSpec, Recipe] | None = None
        self._asked = 0
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search = OptunaSearch(self._draw, metric=[_GAP, _SIZE], mode=["min", "min"], seed=seed)

    def _draw(self, trial: Any) -> None:
        self._drawn = _candidate(self._problem, trial)

    def ask(self) -> Proposal | None:
        for _ in range(_ASKS):
            number, self._asked = self._asked, self._asked + 1
            self._search.suggest(str(number))
            assert self._drawn is not None
            found = _proposal(self._problem, number, *self._drawn)
            if found is not None:
                return found
            self._reject(str(number), _cost(self._problem, self._drawn[0]))
        return None

    def _reject(self, trial_id: str, cost: Cost | None) -> None:
        if cost is None:
            self._search.on_trial_complete(trial_id, error=True)
            return
        teacher = self._problem.table.teacher
        size = max(cost.num_params, teacher.cost.num_params)
        self._search.on_trial_complete(trial_id, {_GAP: 100 * teacher.top1, _SIZE: size})

    def tell(self, ended_trial: EndedTrial) -> None:
        if ended_trial.status is TrialStatus.FAILED:
            self._search.on_trial_complete(str(ended_trial.number), error=True)
        else:
            self._search.on_trial_complete(
                str(ended_trial.number), _result(ended_trial.row, ended_trial.epochs, ended_trial.gap_points)
            )


class RayAsha:
    """Ray's `ASHAScheduler` on the gap alone.

    Args:
        epochs: Full fidelity.
        options: Of the scheduler, such as `grace_period`; its own defaults otherwise.
    """

    def __init__(self, epochs: int, **options: float) -> None:
        from ray.tune.schedulers import ASHAScheduler

        self._scheduler = ASHAScheduler(metric=_GAP, mode="min", max_t=epochs, **options)
        self._trials: dict[int, Any] = {}

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        if number not in self._trials:
            self._trials[number] = SimpleNamespace(trial_id=str(number))
            self._scheduler.on_trial_add(None, self._trials[number])
        return bool(self._scheduler.on_trial_result(None, self._trials[number], _result(row, epoch)) == "STOP")

    def finished(self, ended_trial: EndedTrial) -> None:
        trial = self._trials.pop(ended_trial.number, None)
        if trial is None:
            return
        if ended_trial.status is TrialStatus.COMPLETE:
            self._scheduler.on_trial_complete(None, trial, _result(ended_trial.row, ended_trial.epochs))
        else:
            self._scheduler.on_trial_remove(None, trial)


def _result(row: Row, epoch: int, gap: float | None = None) -> dict[str, Any]:
    measured = float(row.curves[_GAP][epoch - 1]) if gap is None else gap
    return {_GAP: measured, _SIZE: row.cost.num_params, _EPOCH: epoch}


class Moasha:
    """Syne Tune's MOASHA, which draws at random and stops by several metrics; searcher and stopping rule in one.

    Its space is flat: it draws every parameter that any candidate has, and the space asks for those that it needs.

    Args:
        problem: What it draws from.
        seed: Of NumPy's global generator, which it uses.
        options: Of the scheduler, such as `grace_period`; its own defaults otherwise.
    """

    def __init__(self, problem: Problem, seed: int, **options: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        self._problem = problem
        np.random.seed(seed)  # noqa: NPY002 - the generator that it draws from
        self._scheduler = MOASHA(
            config_space=_flat_space(problem.table.provenance["distributions"]),
            metrics=[_GAP, _SIZE],
            time_attr=_EPOCH,
            max_t=problem.table.epochs,
            random_seed=seed,
            **options,
        )
        self._asked = 0
        self._trials: dict[int, Any] = {}

    def ask(self) -> Proposal | None:
        from syne_tune.backend.trial_status import Trial

        for _ in range(_ASKS):
            config = self._scheduler.suggest().config
            trial = FixedTrial({name: _plain(value) for name, value in config.items()})
            found = _proposal(self._problem, self._asked, *_candidate(self._problem, trial))
            if found is None:
                continue
            self._trials[self._asked] = Trial(trial_id=self._asked, config=config, creation_time=None)
            self._scheduler.on_trial_add(self._trials[self._asked])
            self._asked += 1
            return found
        return None

    def tell(self, ended_trial: EndedTrial) -> None:
        trial = self._trials.pop(ended_trial.number)
        if ended_trial.status is TrialStatus.COMPLETE:
            self._scheduler.on_trial_complete(trial, _result(ended_trial.row, ended_trial.epochs))
        elif ended_trial.status is TrialStatus.FAILED:
            self._scheduler.on_trial_error(trial)

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        return bool(self._scheduler.on_trial_result(self._trials[number], _result(row, epoch)) == "STOP")

    def finished(self, ended_trial: EndedTrial) -> None:
        del ended_trial  # heard by `tell`


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _flat_space(distributions: Mapping[str, str]) -> dict[str, Any]:
    return {name: _domain(json_to_distribution(text)) for name, text in distributions.items()}


def _domain(distribution: BaseDistribution) -> Any:
    from syne_tune import config_space

    match distribution:
        case CategoricalDistribution(choices=choices):
            return config_space.choice(list(choices))
        case IntDistribution(low=low, high=high, log=log):
            return (config_space.lograndint if log else config_space.randint)(low, high)
        case FloatDistribution(low=low, high=high, step=float(step)):
            # Not `finrange`, whose last value may miss the upper bound by a rounding.
            return config_space.choice([low + step * turn for turn in range(round((high - low) / step) + 1)])
        case FloatDistribution(low=low, high=high, log=log):
            return (config_space.loguniform if log else config_space.uniform)(low, high)
    raise ValueError(f"{distribution!r} is no distribution that is known here")
