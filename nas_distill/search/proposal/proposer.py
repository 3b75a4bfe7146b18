"""Turns a space into assignments: asks, prices, refuses what is over budget, unbuildable or known, and asks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nas_distill.records.task import Assignment
from nas_distill.errors import SpaceError, StudyError
from nas_distill.records import Recipe, StudentSpec
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.proposal.costs import Pricer
from nas_distill.search.spaces.recipes import RecipeChoices, RecipeSpace, propose_recipe
from nas_distill.search.spaces.loading import Space, propose
from nas_distill.search.study.ledger import StudyLedger, gave_up

if TYPE_CHECKING:
    from optuna import Trial

_REPEATED = "repeated"
_PRUNED = "the space pruned it"
_REFUSALS_BEFORE_CHANCE = 10


class ExhaustedSpaceError(SpaceError):
    """A space that has, as far as sampling can tell, no candidate left that was not tried."""


class Proposer:
    """Proposes candidates that are worth training.

    Args:
        ledger: Where they are asked for and noted.
        space: Where they come from.
        limits: What they may cost.
        pricer: Tells what they cost.
        recipe: How they will be distilled, or what `recipes` starts from.
        recipes: Where recipes come from.
        choices: What they may choose.
        seed: The search's.
        max_refusals: Refusals in a row before the space counts as exhausted.
        known: What was assigned before: the same candidate is not distilled by the same recipe twice.
    """

    def __init__(
        self,
        ledger: StudyLedger,
        *,
        space: Space,
        limits: Limits,
        pricer: Pricer,
        recipe: Recipe,
        recipes: RecipeSpace,
        choices: RecipeChoices,
        seed: int,
        max_refusals: int,
        known: Iterable[Assignment],
    ) -> None:
        self._ledger = ledger
        self._space = space
        self._limits = limits
        self._pricer = pricer
        self._recipe = recipe
        self._recipes = recipes
        self._choices = choices
        self._seed = seed
        self._max_refusals = max_refusals
        self._known = {_key(assignment.spec, assignment.recipe) for assignment in known}
        self.refused = ledger.refused()

    def next(self) -> Assignment:
        """Returns the next assignment, noted in the study.

        Raises:
            ExhaustedSpaceError: `max_refusals` candidates in a row were refused, some because they were known.
            SpaceError: The space raised, returned no spec, or had `max_refusals` unsuitable candidates in a row.
            StudyError: The sampler failed, or the storage cannot be used.
        """
        reasons: Counter[str] = Counter()
        last = ""
        for _ in range(self._max_refusals):
            assignment, kind, last = self._try_one(at_random=_leave_to_chance(reasons))
            if assignment is not None:
                return assignment
            reasons[kind] += 1
            self.refused += 1
        error_class = ExhaustedSpaceError if reasons[_REPEATED] else SpaceError
        counts = ", ".join(f"{count} {kind}" for kind, count in reasons.most_common())
        raise error_class(
            f"space '{self._space.name}': {self._max_refusals} candidates in a row were refused ({counts}; the last: "
            f"{last}); widen the space, raise --max-params or what else bounds it, or lower --trials"
        )

    def _try_one(self, *, at_random: bool) -> tuple[Assignment | None, str, str]:
        """Returns an assignment, or None with the kind and the reason of the refusal."""
        trial = self._ledger.ask(at_random=at_random)
        spec: StudentSpec | None = None
        try:
            spec = propose(self._space, trial)
            recipe = propose_recipe(self._recipes, trial, self._recipe, self._choices)
        except (SpaceError, StudyError) as error:
            if gave_up(error):
                self._ledger.refuse(trial, _PRUNED, spec=spec, violations={"pruned": 1.0})
                return None, "pruned", _PRUNED
            self._give_up(trial, error, spec=spec)
            raise
        try:
            cost = self._pricer.cost(spec, recipe)
        except SpaceError as error:
            self._ledger.refuse(trial, str(error), spec=spec, violations={"buildable": 1.0})
            return None, "unbuildable", str(error)
        latency = None
        if self._limits.max_latency_ms is not None and self._limits.refusal(cost) is None:
            latency = self._pricer.latency(spec, recipe)
            self._ledger.note_latency(trial, latency)
            cost = cost.model_copy(update={"latency_ms": latency.median_ms})
        violations = self._limits.violations(cost, latency)
        over = self._limits.refusal(cost, latency)
        if over is not None:
            self._ledger.refuse(trial, over, spec=spec, cost=cost, violations=violations)
            return None, "over budget", over
        if _key(spec, recipe) in self._known:
            reason = f"{spec.spec_id} was proposed before"
            self._ledger.refuse(trial, reason, spec=spec, cost=cost)
            return None, _REPEATED, reason
        self._known.add(_key(spec, recipe))
        seed = int(np.random.SeedSequence((self._seed, trial.number)).generate_state(1)[0])
        assignment = Assignment(number=trial.number, seed=seed, spec=spec, recipe=recipe, cost=cost)
        self._ledger.assign(trial, assignment, violations)
        return assignment, "", ""

    def _give_up(self, trial: Trial, error: SpaceError | StudyError, spec: StudentSpec | None = None) -> None:
        if isinstance(error, SpaceError):
            self._ledger.note_space_failure()
        self._ledger.refuse(trial, str(error), spec=spec, again=True)


def _leave_to_chance(refused: Counter[str]) -> bool:
    """Whether the next candidate is drawn at random, after so many refusals in a row.

    A sampler that has settled proposes the same again and again, and one that has found large students good may propose
    nothing within the limits. Chance finds what is left of a small space; where limits leave little of a space, the
    sampler, which is told of them, may know better, and takes turns with it.
    """
    count = refused.total()
    return count >= _REFUSALS_BEFORE_CHANCE and (refused[_REPEATED] > count / 2 or count % 2 == 0)


def _key(spec: StudentSpec, recipe: Recipe) -> tuple[str, str]:
    return spec.spec_id, recipe.digest()
