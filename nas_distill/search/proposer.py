"""Turns a space into assignments: asks, prices, refuses what is over budget, unbuildable or known, and asks again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas_distill.config import SpaceConfig
from nas_distill.errors import SpaceError, StudyError
from nas_distill.losses.registry import through_teacher, wanted_signals
from nas_distill.models.cost import measure_cost
from nas_distill.models.latency import Latency, measure_latency
from nas_distill.models.through_teacher import TeacherHead
from nas_distill.records import Cost, Recipe, StudentSpec
from nas_distill.search.recipes import RecipeChoices, RecipeSpace, propose_recipe
from nas_distill.search.spaces import Space, propose
from nas_distill.search.study import StudyLedger
from nas_distill.workplace import Assignment

if TYPE_CHECKING:
    from optuna import Trial

_REPEATED = "repeated"
_REPEATS_BEFORE_CHANCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds that a candidate must keep before it is trained; None is no bound.

    Attributes:
        max_params: Parameters.
        max_macs: Multiply-accumulates per image.
        max_params_reason: What sets the bound on parameters.
        max_size_bytes: Parameters and buffers at their stored precision.
        max_latency_ms: Time for one image on one thread of the driver's CPU, milliseconds.
    """

    max_params: int | None
    max_macs: int | None
    max_params_reason: str
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None

    def violations(self, cost: Cost, latency: Latency | None = None) -> dict[str, float]:
        """Returns log10(value / bound) per bound: above 0 where violated, comparable between bounds."""
        bounds: dict[str, tuple[float, float | None]] = {
            "num_params": (cost.num_params, self.max_params),
            "macs": (max(cost.macs, 1), self.max_macs),
            "size_bytes": (cost.size_bytes, self.max_size_bytes),
        }
        if latency is not None:
            bounds["latency_ms"] = (latency.median_ms, self.max_latency_ms)
        return {name: math.log10(value / bound) for name, (value, bound) in bounds.items() if bound is not None}

    def refusal(self, cost: Cost, latency: Latency | None = None) -> str | None:
        """Returns why a candidate of this cost is not trained, or None."""
        if self.max_params is not None and cost.num_params > self.max_params:
            return f"{cost.num_params:,} parameters, {self.max_params_reason} allows {self.max_params:,}"
        if self.max_macs is not None and cost.macs > self.max_macs:
            return f"{cost.macs:,} MACs, --max-macs allows {self.max_macs:,}"
        if self.max_size_bytes is not None and cost.size_bytes > self.max_size_bytes:
            return f"{cost.size_bytes:,} bytes, --max-size-bytes allows {self.max_size_bytes:,}"
        if latency is not None and self.max_latency_ms is not None and latency.median_ms > self.max_latency_ms:
            return (
                f"{latency.median_ms:.3g} ms (interquartile range {latency.iqr_ms:.2g} ms), --max-latency-ms allows "
                f"{self.max_latency_ms:g}"
            )
        return None


def make_limits(config: SpaceConfig, teacher: Cost) -> Limits:
    """Returns the bounds of `config`, and that of the teacher's size unless larger students were asked for."""
    smaller_than_teacher = teacher.num_params - 1
    bounded = not config.allow_larger_than_teacher and (config.max_params or math.inf) > smaller_than_teacher
    return Limits(
        max_params=smaller_than_teacher if bounded else config.max_params,
        max_params_reason="being smaller than the teacher" if bounded else "--max-params",
        max_macs=config.max_macs,
        max_size_bytes=config.max_size_bytes,
        max_latency_ms=config.max_latency_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """What students take and give.

    Attributes:
        num_classes: Outputs.
        channels: Input channels.
        image_size: Input height and width, pixels.
    """

    num_classes: int
    channels: int
    image_size: int


class ExhaustedSpaceError(SpaceError):
    """A space that has, as far as sampling can tell, no candidate left that was not tried."""


class Proposer:
    """Proposes candidates that are worth training.

    Args:
        ledger: Where they are asked for and noted.
        space: Where they come from.
        limits: What they may cost.
        shape: What they take and give.
        recipe: How they will be distilled, or what `recipes` starts from.
        recipes: Where recipes come from.
        choices: What they may choose.
        seed: The search's.
        max_refusals: Refusals in a row before the space counts as exhausted.
        known: What was assigned before: the same candidate is not distilled by the same recipe twice.
        head: The teacher's classifier, for recipes whose students answer through it.
    """

    def __init__(
        self,
        ledger: StudyLedger,
        *,
        space: Space,
        limits: Limits,
        shape: InputShape,
        recipe: Recipe,
        recipes: RecipeSpace,
        choices: RecipeChoices,
        seed: int,
        max_refusals: int,
        known: Iterable[Assignment],
        head: TeacherHead | None = None,
    ) -> None:
        self._ledger = ledger
        self._space = space
        self._limits = limits
        self._shape = shape
        self._recipe = recipe
        self._recipes = recipes
        self._choices = choices
        self._seed = seed
        self._max_refusals = max_refusals
        self._head = head
        self._latencies: dict[tuple[str, bool], Latency] = {}
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
            # A sampler that has settled proposes the same again and again; chance finds what is left of a small space.
            assignment, kind, last = self._try_one(at_random=reasons[_REPEATED] >= _REPEATS_BEFORE_CHANCE)
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
        try:
            spec = propose(self._space, trial)
        except (SpaceError, StudyError) as error:
            self._give_up(trial, error)
            raise
        try:
            recipe = propose_recipe(self._recipes, trial, self._recipe, self._choices)
        except (SpaceError, StudyError) as error:
            self._give_up(trial, error, spec=spec)
            raise
        try:
            cost = self._cost(spec, recipe)
        except SpaceError as error:
            self._ledger.refuse(trial, str(error), spec=spec, violations={"buildable": 1.0})
            return None, "unbuildable", str(error)
        latency = self._latency(trial, spec, recipe) if self._limits.refusal(cost) is None else None
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

    def _latency(self, trial: Trial, spec: StudentSpec, recipe: Recipe) -> Latency | None:
        """Returns how long the candidate takes, measured once per candidate; None where nothing bounds it."""
        if self._limits.max_latency_ms is None:
            return None
        through = self._head if through_teacher(recipe) else None
        key = (spec.spec_id, through is not None)
        if key not in self._latencies:
            self._latencies[key] = measure_latency(
                spec,
                num_classes=self._shape.num_classes,
                channels=self._shape.channels,
                image_size=self._shape.image_size,
                through=through,
            )
        self._ledger.note_latency(trial, self._latencies[key])
        return self._latencies[key]

    def _give_up(self, trial: Trial, error: SpaceError | StudyError, spec: StudentSpec | None = None) -> None:
        if isinstance(error, SpaceError):
            self._ledger.note_space_failure()
        self._ledger.refuse(trial, str(error), spec=spec, again=True)

    def _cost(self, spec: StudentSpec, recipe: Recipe) -> Cost:
        """Returns what the candidate costs, with all that its recipe makes it carry.

        Raises:
            SpaceError: It cannot be built, or lacks a signal that its recipe's losses compare.
        """
        return measure_cost(
            spec,
            num_classes=self._shape.num_classes,
            channels=self._shape.channels,
            image_size=self._shape.image_size,
            through=self._head if through_teacher(recipe) else None,
            wanted=wanted_signals(recipe),
        )


def _key(spec: StudentSpec, recipe: Recipe) -> tuple[str, str]:
    return spec.spec_id, recipe.digest()
