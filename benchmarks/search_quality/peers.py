"""Searches of other projects in the simulator; each one uses the project's own objects, without a cluster.

All propose from the same space and recipe space, and get rows by the same rule. A proposal beyond the limits of the
table costs no epoch: searchers that accept errors or penalties receive one, and the next proposal is requested.
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

from benchmarks.search_quality.curve_table import Row
from benchmarks.search_quality.our_search import Problem
from benchmarks.search_quality.simulator import EndedTrial, Proposal
from nas_distill.records import Cost, Recipe, StudentSpec, TrialStatus

_MAX_PROPOSALS = 1000
_GAP, _SIZE, _EPOCH = "gap_points", "num_params", "training_iteration"


def _proposal(problem: Problem, number: int, spec: StudentSpec, recipe: Recipe) -> Proposal | None:
    """Return a proposal; None if it is beyond the limits of the table."""
    cost = problem.source.cost(spec)
    if cost is None or problem.source.limits.rejection(cost) is not None:
        return None
    return Proposal(number=number, spec=spec, recipe=recipe, cost=cost)


class OptunaSearcher:
    """Optuna's ask-and-tell interface with one of its samplers.

    Args:
        problem: Problem to search.
        sampler: The sampler.
    """

    def __init__(self, problem: Problem, sampler: optuna.samplers.BaseSampler) -> None:
        self._problem = problem
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def ask(self) -> Proposal | None:
        for _ in range(_MAX_PROPOSALS):
            trial = self._study.ask()
            found = _proposal(self._problem, trial.number, *self._problem.source.suggest(trial))
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
    """Ray's `OptunaSearch` with two metrics; a stopped trial reports its last result, as in Ray Tune.

    It has no concept of limits, and would propose only large students once it has found that they are good. Therefore a
    proposal beyond the limits reports a student of the teacher's size that is always wrong, the usual penalty.

    Args:
        problem: Problem to search.
        seed: Seed of the sampler.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._problem = problem
        self._drawn: tuple[StudentSpec, Recipe] | None = None
        self._proposed = 0
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search = OptunaSearch(self._draw, metric=[_GAP, _SIZE], mode=["min", "min"], seed=seed)

    def _draw(self, trial: Any) -> None:
        self._drawn = self._problem.source.suggest(trial)

    def ask(self) -> Proposal | None:
        for _ in range(_MAX_PROPOSALS):
            number, self._proposed = self._proposed, self._proposed + 1
            self._search.suggest(str(number))
            assert self._drawn is not None
            found = _proposal(self._problem, number, *self._drawn)
            if found is not None:
                return found
            self._reject(str(number), self._problem.source.cost(self._drawn[0]))
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
    """Ray's `ASHAScheduler` on the gap.

    Args:
        epochs: Epochs per training.
        options: Options of the scheduler, such as `grace_period`; others have Ray's defaults.
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
    """Syne Tune's MOASHA: random proposals, early stopping by several metrics; searcher and stopping rule in one.

    Its search space is flat: it draws every parameter of any candidate, and our space reads those that it needs.

    Args:
        problem: Problem to search.
        seed: Seed of MOASHA and of NumPy's global generator, which it uses.
        options: Options of the scheduler, such as `grace_period`; others have Syne Tune's defaults.
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
        self._proposed = 0
        self._trials: dict[int, Any] = {}

    def ask(self) -> Proposal | None:
        from syne_tune.backend.trial_status import Trial

        for _ in range(_MAX_PROPOSALS):
            config = self._scheduler.suggest().config
            trial = FixedTrial({name: _plain(value) for name, value in config.items()})
            found = _proposal(self._problem, self._proposed, *self._problem.source.suggest(trial))
            if found is None:
                continue
            self._trials[self._proposed] = Trial(trial_id=self._proposed, config=config, creation_time=None)
            self._scheduler.on_trial_add(self._trials[self._proposed])
            self._proposed += 1
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
        del ended_trial  # `tell` has handled it


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
            # Not `finrange`, whose last value may miss the upper bound by a rounding error.
            return config_space.choice([low + step * turn for turn in range(round((high - low) / step) + 1)])
        case FloatDistribution(low=low, high=high, log=log):
            return (config_space.loguniform if log else config_space.uniform)(low, high)
    raise ValueError(f"unknown distribution {distribution!r}")
