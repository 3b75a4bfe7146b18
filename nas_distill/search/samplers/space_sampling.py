"""Samples candidates from a space outside a search, and checks initial points against a space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from nas_distill.errors import ConfigError, StudyError, nearest_names
from nas_distill.optuna_private import contains
from nas_distill.records import SpaceContext, StudentSpec
from nas_distill.search.spaces.loading import Space, propose

_DRAWS = 20
"""Attempts to reach all parameters of a point: the choices that it leaves open decide which others are suggested."""


def sample_space(space: Space, n: int, seed: int, context: SpaceContext) -> tuple[StudentSpec, ...]:
    """Return `n` candidates drawn independently and uniformly; candidates may repeat.

    Args:
        space: Space to sample from.
        n: Number of candidates.
        seed: Random seed; equal seeds draw equal candidates.
        context: Data, teacher and limits of a search.

    Raises:
        SpaceError: The space does not suit the context, raised an exception, or did not return a `StudentSpec`.
    """
    with _without_optuna_logs():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        return tuple(propose(space, study.ask(), context) for _ in range(n))


def build_point(space: Space, point: Mapping[str, Any], context: SpaceContext) -> StudentSpec:
    """Return the candidate of a point that has a value for every parameter of the space.

    Args:
        space: Space of the point.
        point: Parameter names and values.
        context: Data, teacher and limits of a search.

    Raises:
        SpaceError: The point lacks a parameter, a value is outside its distribution, the space does not suit the
            context, or it raised an exception.
    """
    with _without_optuna_logs():
        return propose(space, optuna.trial.FixedTrial(dict(point)), context)


def list_parameters(space: Space, context: SpaceContext, *, draws: int = 300) -> dict[str, BaseDistribution]:
    """Return the parameters that a space suggested in a number of random candidates, in the order of appearance.

    Args:
        space: Space to sample from.
        context: Data, teacher and limits of a search.
        draws: Number of candidates.

    Raises:
        SpaceError: The space does not suit the context, or raised an exception.
    """
    found: dict[str, BaseDistribution] = {}
    with _without_optuna_logs():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(draws):
            trial = study.ask()
            propose(space, trial, context)
            found |= trial.distributions
    return found


def check_point(point: Mapping[str, Any], build: Callable[[optuna.Trial], object], *, field: str, name: str) -> None:
    """Check that a space suggests every parameter of a point and that each value is in its distribution.

    Args:
        point: Parameter names and values; all other parameters are drawn at random.
        build: Function that builds a candidate from a trial.
        field: Configuration key of the points, for errors.
        name: Name of the point, for errors.

    Raises:
        ConfigError: The space does not suggest one of the parameters, or its value is outside the distribution.
        SpaceError: The space raised an exception.
    """
    suggested: dict[str, BaseDistribution] = {}
    with _without_optuna_logs():
        study = optuna.create_study(sampler=_PointSampler(point))
        for _ in range(_DRAWS):
            trial = study.ask()
            try:
                build(trial)
            except _OutsideError as error:
                raise ConfigError(f"{name}: {error}", code="search.point_value", field=field) from None
            suggested |= trial.distributions
            for key in point.keys() & trial.params.keys():
                if trial.params[key] != point[key]:  # Optuna asks no sampler where a distribution has a single value
                    raise ConfigError(
                        f"{name}: {key}: {point[key]!r} must be {trial.params[key]!r}",
                        code="search.point_value",
                        field=field,
                    )
            if point.keys() <= trial.params.keys():
                return
    unknown = sorted(point.keys() - suggested.keys())
    if unknown:
        raise ConfigError(
            f"{name}: the space suggests no parameter '{unknown[0]}' together with the others; "
            f"{nearest_names(unknown[0], suggested)}",
            code="search.point_parameter",
            field=field,
        )


class _OutsideError(StudyError):
    """A value is outside its distribution. A `StudyError`, because those pass through a space unchanged."""


class _PointSampler(optuna.samplers.RandomSampler):
    """Proposes the values of a point and draws all others at random."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        super().__init__(seed=0)
        self._point = point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in self._point:
            return super().sample_independent(study, trial, param_name, param_distribution)
        value = self._point[param_name]
        if not contains(param_distribution, value):
            raise _OutsideError(f"{param_name}: {value!r} is outside {param_distribution}", code="search.point_value")
        return value


@contextmanager
def _without_optuna_logs() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
