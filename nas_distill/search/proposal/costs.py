"""Costs of candidates before training, measured once per network."""

from __future__ import annotations

from dataclasses import asdict

from nas_distill.losses.registry import required_outputs, uses_teacher_head
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.costs.latency import Latency, measure_latency
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Cost, Recipe, StudentSpec
from nas_distill.records.network_shape import NetworkShape

_Network = tuple[str, bool]
"""`network_id` of a candidate, and whether it uses the teacher's classifier."""


class CostEstimator:
    """Measures costs and latencies of candidates and remembers them.

    Measuring a cost builds the network, which takes about 0.1 s; a converged sampler proposes the same networks again
    and again.

    Args:
        shape: Input and output shape of the students.
        head: The teacher's classifier, for recipes whose students use it.
    """

    def __init__(self, shape: NetworkShape, head: TeacherHead | None = None) -> None:
        self.shape = shape
        self._head = head
        self._costs: dict[tuple[_Network, OutputRequest], Cost] = {}
        self._latencies: dict[_Network, Latency] = {}

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

    def latency(self, spec: StudentSpec, recipe: Recipe) -> Latency:
        """Return the time per image of a candidate, on one thread of this process's CPU.

        Args:
            spec: The candidate.
            recipe: Recipe that the candidate would be trained with.
        """
        key = _network(spec, recipe)
        if key not in self._latencies:
            self._latencies[key] = measure_latency(spec, **asdict(self.shape), teacher_head=self._head_for(recipe))
        return self._latencies[key]

    def _head_for(self, recipe: Recipe) -> TeacherHead | None:
        return self._head if uses_teacher_head(recipe) else None


def _network(spec: StudentSpec, recipe: Recipe) -> _Network:
    return spec.network_id, uses_teacher_head(recipe)
