"""Turns a space into assignments: asks, prices, refuses what is over budget, unbuildable or known, and asks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from nas_distill.errors import SpaceError, StudyError
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.recipe import RecipeChoices
from nas_distill.records.task import TrialTask
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.spaces.loading import Space, propose
from nas_distill.search.spaces.recipes import RecipeSpace, propose_recipe
from nas_distill.search.study.ledger import StudyLedger, StudyTrial, gave_up

_REPEATED = "repeated"
_PRUNED = "the space pruned it"
_REJECTIONS_BEFORE_CHANCE = 10


class ExhaustedSpaceError(SpaceError):
    """A space that has, as far as sampling can tell, no candidate left that was not tried."""


class Proposer:
    """Proposes candidates that are worth training.

    Args:
        ledger: Where they are asked for and noted.
        space: Where they come from.
        limits: What they may cost.
        cost_estimator: Tells what they cost.
        recipe: How they will be distilled, or what `recipes` starts from.
        recipes: Where recipes come from.
        choices: What they may choose.
        seed: The search's.
        max_rejections: Refusals in a row before the space counts as exhausted.
        known: What was assigned before: the same candidate is not distilled by the same recipe twice.
    """

    def __init__(
        self,
        ledger: StudyLedger,
        *,
        space: Space,
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
        """Returns the next assignment, noted in the study.

        Raises:
            ExhaustedSpaceError: `max_rejections` candidates in a row were refused, some because they were known.
            SpaceError: The space raised, returned no spec, or had `max_rejections` unsuitable candidates in a row.
            StudyError: The sampler failed, or the storage cannot be used.
        """
        reasons: Counter[str] = Counter()
        last = ""
        for _ in range(self._max_rejections):
            task, kind, last = self._try_one(at_random=_leave_to_chance(reasons))
            if task is not None:
                return task
            reasons[kind] += 1
            self.rejected += 1
        error_class = ExhaustedSpaceError if reasons[_REPEATED] else SpaceError
        counts = ", ".join(f"{count} {kind}" for kind, count in reasons.most_common())
        raise error_class(
            f"space '{self._space.name}': {self._max_rejections} candidates in a row were refused ({counts}; the last: "
            f"{last}); widen the space, raise --max-params or what else bounds it, or lower --trials"
        )

    def _try_one(self, *, at_random: bool) -> tuple[TrialTask | None, str, str]:
        """Returns an assignment, or None with the kind and the reason of the refusal."""
        trial = self._ledger.ask(at_random=at_random)
        spec: StudentSpec | None = None
        try:
            spec = propose(self._space, trial)
            recipe = propose_recipe(self._recipes, trial, self._recipe, self._choices)
        except (SpaceError, StudyError) as error:
            if gave_up(error):
                self._ledger.reject(trial, _PRUNED, spec=spec, violations={"pruned": 1.0})
                return None, "pruned", _PRUNED
            self._give_up(trial, error, spec=spec)
            raise
        try:
            cost = self._cost_estimator.cost(spec, recipe)
        except SpaceError as error:
            self._ledger.reject(trial, str(error), spec=spec, violations={"buildable": 1.0})
            return None, "unbuildable", str(error)
        latency = None
        if self._limits.max_latency_ms is not None and self._limits.rejection(cost) is None:
            latency = self._cost_estimator.latency(spec, recipe)
            self._ledger.note_latency(trial, latency)
            cost = cost.model_copy(update={"latency_ms": latency.median_ms})
        violations = self._limits.violations(cost, latency)
        over = self._limits.rejection(cost, latency)
        if over is not None:
            self._ledger.reject(trial, over, spec=spec, cost=cost, violations=violations)
            return None, "over budget", over
        if _key(spec, recipe) in self._known:
            reason = f"{spec.spec_id} was proposed before"
            self._ledger.reject(trial, reason, spec=spec, cost=cost)
            return None, _REPEATED, reason
        self._known.add(_key(spec, recipe))
        seed = int(np.random.SeedSequence((self._seed, trial.number)).generate_state(1)[0])
        task = TrialTask(number=trial.number, seed=seed, spec=spec, recipe=recipe, cost=cost)
        self._ledger.assign(trial, task, violations)
        return task, "", ""

    def _give_up(self, trial: StudyTrial, error: SpaceError | StudyError, spec: StudentSpec | None = None) -> None:
        if isinstance(error, SpaceError):
            self._ledger.note_space_failure()
        self._ledger.reject(trial, str(error), spec=spec, again=True)


def _leave_to_chance(rejected: Counter[str]) -> bool:
    """Whether the next candidate is drawn at random, after so many refusals in a row.

    A sampler that has settled proposes the same again and again, and one that has found large students good may propose
    nothing within the limits. Chance finds what is left of a small space; where limits leave little of a space, the
    sampler, which is told of them, may know better, and takes turns with it.
    """
    count = rejected.total()
    return count >= _REJECTIONS_BEFORE_CHANCE and (rejected[_REPEATED] > count / 2 or count % 2 == 0)


def _key(spec: StudentSpec, recipe: Recipe) -> tuple[str, str]:
    return spec.spec_id, recipe.digest()
