"""Asks a space for candidates without a run: at random, or for one whose parameters are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from nas_distill.errors import ConfigError, StudyError, nearest_names
from nas_distill.records import StudentSpec
from nas_distill.search.spaces.loading import Space, propose

_DRAWS = 20
"""A point may leave choices open, on which it depends whether its other parameters are asked for."""


def sample_space(space: Space, n: int, seed: int) -> tuple[StudentSpec, ...]:
    """Returns `n` candidates drawn independently and uniformly; the same may come twice.

    Args:
        space: Where to draw from.
        n: How many.
        seed: Equal seeds draw equal candidates.

    Raises:
        SpaceError: The space raised, or returned something else than a `StudentSpec`.
    """
    with _quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        return tuple(propose(space, study.ask()) for _ in range(n))


def check_point(point: Mapping[str, Any], ask: Callable[[optuna.Trial], object], *, where: str) -> None:
    """Checks that a space asks for all parameters of a point, and that their values are among those it allows.

    Args:
        point: Names of parameters to values; others are drawn at random.
        ask: Builds a candidate from a trial.
        where: What to call the point in an error.

    Raises:
        ConfigError: It does not ask for one of them, or does not allow its value.
        SpaceError: The space raised.
    """
    asked: dict[str, BaseDistribution] = {}
    with _quiet():
        study = optuna.create_study(sampler=_PointSampler(point))
        for _ in range(_DRAWS):
            trial = study.ask()
            try:
                ask(trial)
            except _OutsideError as error:
                raise ConfigError(f"{where}: {error}") from None
            asked |= trial.distributions
            for name in point.keys() & trial.params.keys():
                if trial.params[name] != point[name]:  # a choice of one, for which no sampler is asked
                    raise ConfigError(f"{where}: {name}: {point[name]!r} must be {trial.params[name]!r}")
            if point.keys() <= trial.params.keys():
                return
    unknown = sorted(point.keys() - asked.keys())
    if unknown:
        raise ConfigError(
            f"{where}: '{unknown[0]}' is no parameter that the space asks for beside the others; "
            f"{nearest_names(unknown[0], asked)}"
        )


class _OutsideError(StudyError):
    """A value that a distribution does not hold; a `StudyError`, since spaces let those through."""


class _PointSampler(optuna.samplers.RandomSampler):
    """Gives a point's values, and draws the others."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        super().__init__(seed=0)
        self._point = point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in self._point:
            return super().sample_independent(study, trial, param_name, param_distribution)
        value = self._point[param_name]
        try:
            held = param_distribution._contains(param_distribution.to_internal_repr(value))
        except (TypeError, ValueError):
            held = False
        if not held:
            raise _OutsideError(f"{param_name}: {value!r} is outside {param_distribution}")
        return value


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
