"""What candidates cost before they are trained, each network counted once."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nas_distill.losses.registry import required_outputs, uses_teacher_head
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.cost import measure_cost
from nas_distill.models.latency import Latency, measure_latency
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Cost, Recipe, StudentSpec


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


_Network = tuple[str, bool]
"""Of a candidate, and whether it answers through the teacher's classifier."""


class CostEstimator:
    """Counts costs and measures latencies, once per network.

    To count a network's cost it is built, which takes a tenth of a second; a sampler that has settled proposes the same
    ones over and over.

    Args:
        shape: What students take and give.
        head: The teacher's classifier, for recipes whose students answer through it.
    """

    def __init__(self, shape: InputShape, head: TeacherHead | None = None) -> None:
        self.shape = shape
        self._head = head
        self._costs: dict[tuple[_Network, OutputRequest], Cost] = {}
        self._latencies: dict[_Network, Latency] = {}

    def cost(self, spec: StudentSpec, recipe: Recipe) -> Cost:
        """Returns what the candidate costs, with all that its recipe makes it carry.

        Raises:
            SpaceError: It cannot be built, or lacks a signal that its recipe's losses compare.
        """
        key = _network(spec, recipe), required_outputs(recipe)
        if key not in self._costs:
            self._costs[key] = measure_cost(
                spec,
                **asdict(self.shape),
                teacher_head=self._head_of(recipe),
                request=required_outputs(recipe),
            )
        return self._costs[key]

    def latency(self, spec: StudentSpec, recipe: Recipe) -> Latency:
        """Returns how long the candidate takes for an image, on one thread of this process's CPU."""
        key = _network(spec, recipe)
        if key not in self._latencies:
            self._latencies[key] = measure_latency(
                spec,
                **asdict(self.shape),
                teacher_head=self._head_of(recipe),
            )
        return self._latencies[key]

    def _head_of(self, recipe: Recipe) -> TeacherHead | None:
        return self._head if uses_teacher_head(recipe) else None


def _network(spec: StudentSpec, recipe: Recipe) -> _Network:
    return spec.spec_id, uses_teacher_head(recipe)
