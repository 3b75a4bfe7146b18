"""Candidates of a table or of a simulated search: where they come from, and random draws of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from pydantic import NonNegativeInt

from benchmarks.common.cost_estimator import cost_of
from nas_distill.config import SearchConfig
from nas_distill.errors import SpaceError
from nas_distill.records import RANDOM, Cost, Recipe, SpaceContext, StudentSpec
from nas_distill.records.base import FrozenArguments, FrozenTexts, Record
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.recipe import RecipeChoices
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import Limits, make_limits
from nas_distill.search.setup.initial_weights import choose_initial_weights
from nas_distill.search.spaces.loading import Space, load_space, propose
from nas_distill.search.spaces.recipes import RecipeSpace, load_recipe_space, make_choices, propose_recipe

_DRAWS_PER_CANDIDATE = 50


class Candidate(Record):
    """One candidate with its recipe.

    Attributes:
        number: Number of the candidate, from 0, in the order of drawing.
        parameters: Parameters that the sampler chose, by name.
        distributions: Distributions that it chose them from, by name, as Optuna's JSON.
        spec: Architecture of the candidate.
        recipe: Recipe of the training.
        cost: Cost of the candidate.
    """

    number: NonNegativeInt
    parameters: FrozenArguments
    distributions: FrozenTexts
    spec: StudentSpec
    recipe: Recipe
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSource:
    """Everything that candidates come from.

    Attributes:
        space: Space of candidates.
        context: Data, teacher and limits, for the space.
        initial_weights: Chooses what a candidate starts from.
        recipes: Space of recipes.
        base: Recipe that the recipe space changes.
        choices: Choices of the recipe space.
        limits: Cost limits of candidates.
    """

    space: Space
    context: SpaceContext
    initial_weights: InitialWeightsChooser
    recipes: RecipeSpace
    base: Recipe
    choices: RecipeChoices
    limits: Limits

    @classmethod
    def of(cls, config: SearchConfig, context: SpaceContext, teacher: Cost) -> CandidateSource:
        """Return the source of a search's candidates.

        Args:
            config: Configuration of the search.
            context: Data, teacher and limits of the search.
            teacher: Cost of the teacher, which candidates must not exceed.
        """
        return cls(
            space=load_space(config.space.resolved_name),
            context=context,
            initial_weights=choose_initial_weights(config.space, context),
            recipes=load_recipe_space(config.space.recipe),
            base=config.recipe,
            choices=make_choices(config.recipe, config.teacher, mixes=config.views.mixes),
            limits=make_limits(config.space, teacher),
        )

    @property
    def shape(self) -> NetworkShape:
        """Input and output shape of candidates."""
        context = self.context
        return NetworkShape(num_classes=context.num_classes, channels=context.channels, image_size=context.image_size)

    def suggest(self, trial: Any) -> tuple[StudentSpec, Recipe]:
        """Return the candidate and the recipe that a trial suggests, in the order of a search's proposer."""
        spec = self.initial_weights.choose(trial, propose(self.space, trial, self.context))
        choices = replace(self.choices, initial_weights=spec.initial_weights or RANDOM)
        return spec, propose_recipe(self.recipes, trial, self.base, choices)

    def cost(self, spec: StudentSpec) -> Cost | None:
        """Return the cost of a candidate; None if it cannot be built."""
        try:
            return cost_of(spec, self.shape)
        except SpaceError:
            return None


def draw(source: CandidateSource, *, count: int, seed: int) -> list[Candidate]:
    """Draw distinct candidates within the limits, independently and uniformly.

    The first candidates do not depend on `count`.

    Raises:
        SpaceError: The space has too few candidates within its limits.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found: dict[tuple[str, str], Candidate] = {}
    for _ in range(_DRAWS_PER_CANDIDATE * count):
        trial = study.ask()
        spec, recipe = source.suggest(trial)
        cost = source.cost(spec)
        key = spec.spec_id, recipe.digest()
        if cost is None or source.limits.rejection(cost) is not None or key in found:
            continue
        found[key] = Candidate(
            number=len(found),
            parameters=trial.params,
            distributions=_as_json(trial.distributions),
            spec=spec,
            recipe=recipe,
            cost=cost,
        )
        if len(found) == count:
            return list(found.values())
    raise SpaceError(
        f"space '{source.space.name}' has only {len(found)} candidates within the limits; draw fewer",
        code="space.exhausted",
    )


def _as_json(distributions: Mapping[str, BaseDistribution]) -> dict[str, str]:
    return {name: distribution_to_json(distribution) for name, distribution in distributions.items()}
