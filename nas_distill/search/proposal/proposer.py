"""Turns proposals of the sampler into trial tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nas_distill.errors import SpaceError, StudyError
from nas_distill.records import Cost, Recipe, SpaceContext, StudentSpec
from nas_distill.records.recipe import RecipeChoices
from nas_distill.records.student import RANDOM
from nas_distill.records.task import TrialTask
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser, UnfitWeightsError
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.spaces.loading import Space, propose
from nas_distill.search.spaces.recipes import RecipeSpace, propose_recipe
from nas_distill.search.study.ledger import StudyLedger, StudyTrial, gave_up

_PRUNED, _UNBUILDABLE, _OVER_LIMIT, _REPEATED = "pruned", "unbuildable", "over a limit", "repeated"
_UNMEASURED = "without a latency"
_UNFIT = "without fitting initial weights"
_PRUNED_REASON = "the space pruned it"
_REJECTIONS_BEFORE_RANDOM = 10


class ExhaustedSpaceError(SpaceError):
    """The sampler finds no candidate that was not tried before."""


@dataclass(frozen=True, slots=True)
class _Rejection:
    """A proposal that is not trained.

    Attributes:
        kind: Group of reasons, for counting.
        reason: One line.
    """

    kind: str
    reason: str


class Proposer:
    """Proposes candidates to train: within the limits, buildable, and not trained before.

    Args:
        ledger: Study that samples parameters and records tasks and rejections.
        space: Space of the candidates.
        context: Data, teacher and limits of the search, for the space.
        initial_weights: Chooses the weights that a candidate starts from.
        limits: Bounds on their cost.
        cost_estimator: Measures their cost.
        recipe: The configuration's recipe, from which `recipes` builds each trial's recipe.
        recipes: Space of the recipes.
        choices: Options that a recipe may choose from.
        seed: Seed of the search.
        max_rejections: Number of consecutive rejections after which the space counts as exhausted.
        known: Tasks of earlier sessions. A candidate is never trained twice with the same recipe.

    Attributes:
        rejected: Number of rejected proposals, those of earlier sessions included.
    """

    def __init__(
        self,
        ledger: StudyLedger,
        *,
        space: Space,
        context: SpaceContext,
        initial_weights: InitialWeightsChooser,
        limits: Limits,
        cost_estimator: CostEstimator,
        recipe: Recipe,
        recipes: RecipeSpace,
        choices: RecipeChoices,
        seed: int,
        max_rejections: int,
        known: Iterable[TrialTask],
    ) -> None:
        self._ledger = ledger
        self._space = space
        self._context = context
        self._initial_weights = initial_weights
        self._limits = limits
        self._cost_estimator = cost_estimator
        self._recipe = recipe
        self._recipes = recipes
        self._choices = choices
        self._seed = seed
        self._max_rejections = max_rejections
        self._known = {_key(task.spec, task.recipe) for task in known}
        self.rejected = ledger.rejected()

    def next(self) -> TrialTask:
        """Return the next task, recorded in the study.

        Raises:
            ExhaustedSpaceError: `max_rejections` proposals in a row were rejected, some of them as repetitions.
            SpaceError: The space raised an exception or did not return a spec, or `max_rejections` proposals in a row
                were rejected.
            StudyError: The sampler failed, or the storage cannot be used.
        """
        kinds: Counter[str] = Counter()
        last = ""
        for _ in range(self._max_rejections):
            outcome = self._try_one(at_random=_draw_at_random(kinds))
            if isinstance(outcome, TrialTask):
                return outcome
            kinds[outcome.kind] += 1
            last = outcome.reason
            self.rejected += 1
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        error_class, code = (
            (ExhaustedSpaceError, "space.exhausted") if kinds[_REPEATED] else (SpaceError, "space.no_candidate")
        )
        raise error_class(
            f"{self._max_rejections} proposals in a row from space '{self._space.name}' were rejected ({counts}; the "
            f"last: {last}); widen the space, relax --max-params or the other limits, or lower --trials",
            code=code,
            field="space.name",
        )

    def _try_one(self, *, at_random: bool) -> TrialTask | _Rejection:
        trial = self._ledger.ask(at_random=at_random)
        built = self._build(trial)
        if isinstance(built, _Rejection):
            return built
        spec, recipe = built
        try:
            cost = self._cost_estimator.cost(spec, recipe)
        except SpaceError as error:
            return self._reject(trial, _UNBUILDABLE, str(error), spec=spec, violations={"buildable": 1.0})
        if self._limits.rejection(cost) is None:
            try:
                cost = self._cost_estimator.on_target(cost, spec, recipe)
            except SpaceError as error:
                return self._reject(trial, _UNMEASURED, str(error), spec=spec, cost=cost, violations={"measured": 1.0})
        violations = self._limits.violations(cost)
        reason = self._limits.rejection(cost)
        if reason is not None:
            return self._reject(trial, _OVER_LIMIT, reason, spec=spec, cost=cost, violations=violations)
        key = _key(spec, recipe)
        if key in self._known:
            return self._reject(trial, _REPEATED, f"{spec.spec_id} was proposed before", spec=spec, cost=cost)
        self._known.add(key)
        seed = int(np.random.SeedSequence((self._seed, trial.number)).generate_state(1)[0])
        task = TrialTask(number=trial.number, seed=seed, spec=spec, recipe=recipe, cost=cost)
        self._ledger.assign(trial, task, violations)
        return task

    def _build(self, trial: StudyTrial) -> tuple[StudentSpec, Recipe] | _Rejection:
        """Return a trial's candidate and recipe, or a rejection if a space pruned it or no initial weights fit."""
        spec: StudentSpec | None = None
        try:
            spec = propose(self._space, trial, self._context)
            spec = self._initial_weights.choose(trial, spec)
            choices = replace(self._choices, initial_weights=spec.initial_weights or RANDOM)
            return spec, propose_recipe(self._recipes, trial, self._recipe, choices)
        except UnfitWeightsError as error:
            return self._reject(trial, _UNFIT, str(error), spec=spec, violations={"initial_weights": 1.0})
        except (SpaceError, StudyError) as error:
            if gave_up(error):
                return self._reject(trial, _PRUNED, _PRUNED_REASON, spec=spec, violations={"pruned": 1.0})
            if isinstance(error, SpaceError):
                self._ledger.note_space_failure()
            self._ledger.reject(trial, str(error), spec=spec, again=True)
            raise

    def _reject(
        self,
        trial: StudyTrial,
        kind: str,
        reason: str,
        *,
        spec: StudentSpec | None,
        cost: Cost | None = None,
        violations: Mapping[str, float] | None = None,
    ) -> _Rejection:
        self._ledger.reject(trial, reason, spec=spec, cost=cost, violations=violations)
        return _Rejection(kind, reason)


def _draw_at_random(kinds: Counter[str]) -> bool:
    """Return whether to draw the next proposal at random, given the consecutive rejections by kind.

    A converged sampler repeats its proposals, and a sampler that prefers large students may propose none within the
    limits. After ten rejections, random draws find what is left of a small space if most rejections were repetitions.
    Otherwise random draws alternate with the sampler, which knows the constraints and may do better in a space of which
    the limits leave little.
    """
    count = kinds.total()
    return count >= _REJECTIONS_BEFORE_RANDOM and (kinds[_REPEATED] > count / 2 or count % 2 == 0)


def _key(spec: StudentSpec, recipe: Recipe) -> tuple[str, str]:
    return spec.spec_id, recipe.digest()
