"""Chooses the weights that each candidate's training starts from, among those that fit the candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nas_distill.config import RUN
from nas_distill.errors import SpaceError
from nas_distill.records import SpaceTrial, StudentSpec
from nas_distill.records.student import RANDOM

PARAMETER = "initial_weights"
"""Name of the suggested parameter for candidates that all allowed initial weights fit."""

FIELD = "space.initial_weights"

Misfit = Callable[[StudentSpec, str], str | None]
"""Returns the reason why a candidate cannot start from given initial weights; None if it can."""


class UnfitWeightsError(SpaceError):
    """A candidate cannot start from the initial weights that its space fixed, or from any that are allowed."""


def only_random_fits(spec: StudentSpec, initial_weights: str) -> str | None:
    """Return why a candidate cannot start from given weights, where no other network is known."""
    del spec
    return None if initial_weights == RANDOM else "this search knows no such weights"


class InitialWeightsChooser:
    """Chooses the initial weights of candidates; whether weights fit a network is checked once.

    Args:
        allowed: Initial weights to choose from (`space.initial_weights`), at least one.
        misfit: Rule that decides which of them fit a candidate. Default: only random
            weights do.
    """

    def __init__(self, allowed: Sequence[str] = (RANDOM,), misfit: Misfit = only_random_fits) -> None:
        self._allowed = tuple(allowed)
        self._misfit = misfit
        self._reasons: dict[tuple[str, str], str | None] = {}

    def choose(self, trial: SpaceTrial, spec: StudentSpec) -> StudentSpec:
        """Return the candidate with initial weights.

        Initial weights that the space fixed are kept, also if they are not among the allowed ones. Otherwise the trial
        suggests those that fit; a single one needs no suggestion.

        Args:
            trial: Trial that suggests the parameters.
            spec: Candidate of the space.

        Raises:
            UnfitWeightsError: The weights that the space fixed do not fit the candidate, or none of the allowed ones
                does.
            StudyError: The sampler or the storage of the study failed.
        """
        if spec.initial_weights is not None:
            reason = self._reason(spec, spec.initial_weights)
            if reason is not None:
                raise _unfit(spec, f"cannot start from {spec.initial_weights} weights: {reason}")
            return spec
        fitting = self._fitting(spec)
        if not fitting:
            reasons = {one: self._reason(spec, one) for one in self._allowed}
            listed = "; ".join(f"{one}: {reason}" for one, reason in reasons.items())
            raise _unfit(spec, f"none of the allowed initial weights fits ({listed}); allow random in {FIELD}")
        chosen = fitting[0]
        if len(fitting) > 1:
            chosen = str(trial.suggest_categorical(self._parameter(fitting), fitting))
        return spec.model_copy(update={"initial_weights": chosen})

    def choice_of(self, spec: StudentSpec, initial_weights: str) -> Mapping[str, str] | None:
        """Return the suggestion with which a candidate starts from given weights, by name; empty if none is needed.

        Args:
            spec: Candidate of the space.
            initial_weights: Weights that the candidate shall start from.

        Returns:
            None if the candidate cannot start from these weights, or they are not allowed.
        """
        if spec.initial_weights is not None:
            return {} if spec.initial_weights == initial_weights else None
        fitting = self._fitting(spec)
        if initial_weights not in fitting:
            return None
        return {self._parameter(fitting): initial_weights} if len(fitting) > 1 else {}

    def _fitting(self, spec: StudentSpec) -> list[str]:
        return [one for one in self._allowed if self._reason(spec, one) is None]

    def _reason(self, spec: StudentSpec, initial_weights: str) -> str | None:
        key = spec.network_id, initial_weights
        if key not in self._reasons:
            self._reasons[key] = self._misfit(spec, initial_weights)
        return self._reasons[key]

    def _parameter(self, fitting: Sequence[str]) -> str:
        # Optuna allows one set of choices per name, so a part of the allowed weights has a name of its own.
        if tuple(fitting) == self._allowed:
            return PARAMETER
        runs = [one for one in self._allowed if one.startswith(RUN)]
        short = (f"run{runs.index(one)}" if one in runs else one for one in fitting)
        return "_".join((PARAMETER, *short))


def _unfit(spec: StudentSpec, message: str) -> UnfitWeightsError:
    return UnfitWeightsError(message, code="space.initial_weights_unfit", field=f"candidate {spec.architecture}")
