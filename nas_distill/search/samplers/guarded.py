"""Creates samplers, Optuna's and the user's own, and turns their failures into one-line errors."""

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
from optuna.trial import FrozenTrial, TrialState

from nas_distill.errors import ConfigError, SpaceError, StudyError, one_line
from nas_distill.optuna_private import contains, is_genetic
from nas_distill.search.samplers.windowed_tpe import WindowedTPESampler
from nas_distill.user_code import import_file

_FIELD = "sampler.name"

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
    """A sampler raised an exception or proposed an invalid value."""


def make_sampler(name: str, seed: int) -> GuardedSampler:
    """Return the sampler called `name`; its failures are raised as `SamplerError`.

    Args:
        name: Shipped name, `module:Class` or `FILE.py:Class`, as in `SamplerConfig.name`.
        seed: Seed of the sampler. A user's class receives it if its constructor takes `seed`.

    Raises:
        ConfigError: The module or class does not exist, the class does not derive from `BaseSampler`, or its
            constructor fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna marks `group` and `GPSampler` as experimental
        sampler = _SHIPPED[name](seed) if name in _SHIPPED else _make_own(name, seed)
    return GuardedSampler(sampler, name)


def _make_own(name: str, seed: int) -> BaseSampler:
    constructor = _find_class(name)
    try:
        parameters = inspect.signature(constructor).parameters
        takes_seed = "seed" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        return constructor(seed=seed) if takes_seed else constructor()
    except Exception as error:
        raise ConfigError(
            f"the constructor of {name} failed: {one_line(error)}; it is called with seed=... if it takes a seed, "
            "otherwise without arguments",
            code="search.sampler_constructor_failed",
            field=_FIELD,
        ) from error


def _find_class(name: str) -> Callable[..., BaseSampler]:
    place, _, class_name = name.rpartition(":")
    try:
        module = import_file(Path(place), field=_FIELD) if place.endswith(".py") else importlib.import_module(place)
    except SpaceError as error:
        raise ConfigError(*error.args, code=error.code, field=_FIELD) from error
    except Exception as error:
        raise ConfigError(
            f"module '{place}' cannot be imported: {one_line(error)}; give module:Class or FILE.py:Class",
            code="search.import_failed",
            field=_FIELD,
        ) from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, BaseSampler)):
        reason = f"{place} has no '{class_name}'" if found is None else f"{name} is {found!r:.80}"
        raise ConfigError(
            f"{reason}; name a class that derives from optuna.samplers.BaseSampler",
            code="search.not_a_sampler",
            field=_FIELD,
        )
    return found


class GuardedSampler(BaseSampler):
    """Wraps a sampler: its exceptions and invalid proposals become a one-line `SamplerError`.

    An exception in `after_trial` is kept and raised at the next proposal, so that the results of trials that are still
    running can be recorded first.

    Args:
        sampler: Sampler to wrap.
        name: Name of the sampler in the configuration, for errors.
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
            raise self._error(
                f"returned {values!r:.60} from sample_relative instead of a dictionary", code="search.sampler_proposal"
            )
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
        """Register a trial that another sampler draws: a genetic sampler assigns it to its current generation."""
        if is_genetic(self._sampler):
            self._call("get_trial_generation", study, trial)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._sampler, method)(*arguments)
        except StudyError:  # raised by the storage that the sampler reads, not by the sampler
            raise
        except Exception as error:
            raise self._error(f"raised {one_line(error)} in {method}", code="search.sampler_failed") from error

    def _check(self, parameter: str, value: Any, distribution: BaseDistribution) -> None:
        if not contains(distribution, value):
            raise self._error(
                f"proposed {value!r:.60} for '{parameter}', which is outside {distribution}",
                code="search.sampler_proposal",
            )

    def _error(self, fault: str, *, code: str) -> SamplerError:
        return SamplerError(
            f"'{self._name}' {fault}; fix it and continue with --resume, or continue with another sampler: "
            "--resume with --sampler",
            code=code,
            field=_FIELD,
        )
