"""Costs of candidates before training, measured once per network."""

from __future__ import annotations

from dataclasses import asdict

from nas_distill.losses.registry import required_outputs, uses_teacher_head
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Cost, Recipe, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.target.meter import TargetMeter
from nas_distill.target.subject import Subject

_Network = tuple[str, bool]
"""`network_id` of a candidate, and whether it uses the teacher's classifier."""


class CostEstimator:
    """Measures costs of candidates and remembers them.

    Measuring a cost builds the network, which takes about 0.1 s; a converged sampler proposes the same networks again
    and again.

    Args:
        shape: Input and output shape of the students.
        head: The teacher's classifier, for recipes whose students use it.
        meter: Measures latencies on the target; None for a search that does not use them.
    """

    def __init__(self, shape: NetworkShape, head: TeacherHead | None = None, meter: TargetMeter | None = None) -> None:
        self.shape = shape
        self._head = head
        self._meter = meter
        self._costs: dict[tuple[_Network, OutputRequest], Cost] = {}

    def cost(self, spec: StudentSpec, recipe: Recipe) -> Cost:
        """Return the cost of a candidate, including what its recipe adds to the network.

        Args:
            spec: The candidate.
            recipe: Recipe that the candidate would be trained with.

        Raises:
            SpaceError: The network cannot be built, or lacks an output that the recipe's losses compare.
        """
        key = _network(spec, recipe), required_outputs(recipe)
        if key not in self._costs:
            self._costs[key] = measure_cost(
                spec,
                **asdict(self.shape),
                teacher_head=self._head_for(recipe),
                request=required_outputs(recipe),
            )
        return self._costs[key]

    def on_target(self, cost: Cost, spec: StudentSpec, recipe: Recipe) -> Cost:
        """Return a candidate's cost with its latency and throughput on the target, if the search measures them.

        Args:
            cost: The candidate's cost, from `cost`.
            spec: The candidate.
            recipe: Recipe that the candidate would be trained with.

        Raises:
            SpaceError: The candidate cannot be measured.
            RunError: The cache of measurements cannot be used.
        """
        if self._meter is None:
            return cost
        subject = Subject(spec=spec, shape=self.shape, cost=cost, teacher_head=self._head_for(recipe))
        return self._meter.measure(subject).added_to(cost)

    def _head_for(self, recipe: Recipe) -> TeacherHead | None:
        return self._head if uses_teacher_head(recipe) else None


def _network(spec: StudentSpec, recipe: Recipe) -> _Network:
    return spec.network_id, uses_teacher_head(recipe)
