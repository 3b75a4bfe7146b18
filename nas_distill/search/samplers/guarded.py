"""The samplers that may propose candidates, shipped ones and the user's own."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
)
from optuna.samplers._ga import BaseGASampler
from optuna.trial import FrozenTrial, TrialState

from nas_distill.errors import ConfigError, SpaceError, StudyError, one_line
from nas_distill.search.samplers.windowed_tpe import WindowedTPESampler
from nas_distill.search.user_code import import_file

_SHIPPED: Mapping[str, Callable[[int], BaseSampler]] = MappingProxyType(
    {
        "gp": lambda seed: GPSampler(seed=seed, warn_independent_sampling=False),
        "nsga2": lambda seed: NSGAIISampler(seed=seed),
        "nsga3": lambda seed: NSGAIIISampler(seed=seed),
        "random": lambda seed: RandomSampler(seed=seed),
        "tpe": lambda seed: WindowedTPESampler(multivariate=True, group=True, constant_liar=True, seed=seed),
    }
)


class SamplerError(StudyError):
    """A sampler that failed at its work."""


def make_sampler(name: str, seed: int) -> GuardedSampler:
    """Returns the sampler called `name`, whose failures are `SamplerError`s.

    Args:
        name: As `SamplerConfig.name` has it.
        seed: Of its choices; a class of the user's own gets it where its constructor takes `seed`.

    Raises:
        ConfigError: There is no such class, it is no sampler of Optuna's kind, or it cannot be made.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group` and GPSampler have been for years
        made = _SHIPPED[name](seed) if name in _SHIPPED else _make_own(name, seed)
    return GuardedSampler(made, name)


def shipped_samplers() -> tuple[str, ...]:
    """Returns the names of the shipped samplers."""
    return tuple(sorted(_SHIPPED))


def _make_own(name: str, seed: int) -> BaseSampler:
    place, _, wanted = name.rpartition(":")
    try:
        module = import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except SpaceError as error:  # `import_file` is made for spaces
        raise ConfigError(f"sampler.name: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"sampler.name: module '{place}' does not import: {one_line(error)}; give module:Class or FILE.py:Class"
        ) from error
    made = getattr(module, wanted, None)
    if not (inspect.isclass(made) and issubclass(made, BaseSampler)):
        found = "there is none" if made is None else f"it is {made!r:.80}"
        raise ConfigError(
            f"sampler.name: {name} must be a class derived from optuna.samplers.BaseSampler; {found} called '{wanted}'"
        )
    try:
        constructor: Callable[..., BaseSampler] = made
        parameters = inspect.signature(constructor).parameters
        takes_seed = "seed" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        return constructor(seed=seed) if takes_seed else constructor()
    except Exception as error:
        raise ConfigError(
            f"sampler.name: {name} cannot be made: {one_line(error)}; its constructor is called with seed=... where it "
            "takes that, else with nothing"
        ) from error


class GuardedSampler(BaseSampler):
    """A sampler whose failures are one line.

    A failure while it is told of a trial's end is kept until the next proposal: trials that are running are booked all
    the same.

    Args:
        sampler: Does the work.
        name: What the user calls it.
    """

    def __init__(self, sampler: BaseSampler, name: str) -> None:
        self._sampler = sampler
        self._name = name
        self._failed_after_trial: SamplerError | None = None

    def __str__(self) -> str:
        return str(self._sampler)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        space: dict[str, BaseDistribution] = self._call("infer_relative_search_space", study, trial)
        return space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        values = self._call("sample_relative", study, trial, search_space)
        if not isinstance(values, dict):
            raise self._error(f"returned {values!r:.60} from sample_relative, which is no dictionary")
        for name in values.keys() & search_space.keys():
            self._check(name, values[name], search_space[name])
        return values

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See `BaseSampler`."""
        value = self._call("sample_independent", study, trial, param_name, param_distribution)
        self._check(param_name, value, param_distribution)
        return value

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See `BaseSampler`."""
        if self._failed_after_trial is not None:
            raise self._failed_after_trial
        self._call("before_trial", study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See `BaseSampler`."""
        try:
            self._call("after_trial", study, trial, state, values)
        except SamplerError as error:
            self._failed_after_trial = error

    def reseed_rng(self) -> None:
        """See `BaseSampler`."""
        self._call("reseed_rng")

    def adopt(self, study: Study, trial: FrozenTrial) -> None:
        """Takes in a trial that another sampler draws: a genetic one gives it a place in its generation."""
        if isinstance(self._sampler, BaseGASampler):
            self._call("get_trial_generation", study, trial)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._sampler, method)(*arguments)
        except StudyError:  # of the storage, which it reads
            raise
        except Exception as error:
            raise self._error(f"raised {one_line(error)} in {method}") from error

    def _check(self, parameter: str, value: Any, distribution: BaseDistribution) -> None:
        try:
            valid = distribution._contains(distribution.to_internal_repr(value))
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise self._error(f"proposed {value!r:.60} for '{parameter}', which is outside {distribution}")

    def _error(self, fault: str) -> SamplerError:
        return SamplerError(
            f"sampler.name: '{self._name}' {fault}; correct it, then go on with --resume, or let another one go on "
            "with --resume and --sampler"
        )
