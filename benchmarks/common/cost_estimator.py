"""Estimate the cost of candidates without building them.

Measuring one candidate takes a tenth of a second, and a simulated search proposes a hundred. The cost of `small_resnet`
is computed from its arguments and equals what `measure_cost` returns (a test checks this). The cost of other networks
is measured once per process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache

from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Cost, Recipe, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.proposal.costs import CostEstimator

_ANALYTIC_ARGUMENTS = {"widths", "depths", "block"}
_FLOAT_BYTES, _COUNTER_BYTES = 4, 8


def cost_of(spec: StudentSpec, shape: NetworkShape) -> Cost:
    """Return the cost of a candidate.

    Raises:
        SpaceError: The candidate cannot be built.
    """
    if spec.architecture == "small_resnet" and {"widths", "depths"} <= set(spec.arguments) <= _ANALYTIC_ARGUMENTS:
        return _small_resnet(spec, shape)
    found = _measured(spec, shape)
    if isinstance(found, str):
        raise SpaceError(found)
    return found


class AnalyticCostEstimator(CostEstimator):
    """Estimate costs with `cost_of`.

    Attributes:
        measuring_s: Seconds spent in `cost`.
    """

    measuring_s = 0.0

    def cost(self, spec: StudentSpec, recipe: Recipe) -> Cost:
        del recipe  # none of the benchmarked losses adds parameters to the student
        started = time.perf_counter()
        try:
            return cost_of(spec, self.shape)
        finally:
            self.measuring_s += time.perf_counter() - started


@cache
def _measured(spec: StudentSpec, shape: NetworkShape) -> Cost | str:
    try:
        return measure_cost(spec, num_classes=shape.num_classes, channels=shape.channels, image_size=shape.image_size)
    except SpaceError as error:
        return str(error)


def _small_resnet(spec: StudentSpec, shape: NetworkShape) -> Cost:
    convolutions = list(_convolutions(spec, shape))
    features = convolutions[-1][1]
    weights = [inputs * outputs * kernel**2 for inputs, outputs, kernel, _ in convolutions]
    normalised = sum(outputs for _, outputs, _, _ in convolutions)  # a batch norm after each: scale and shift
    num_params = sum(weights) + 2 * normalised + (features + 1) * shape.num_classes
    positions = [size**2 for _, _, _, size in convolutions]
    return Cost(
        num_params=num_params,
        macs=sum(weight * count for weight, count in zip(weights, positions, strict=True))
        + features * shape.num_classes,
        # Running mean and variance, and a counter of batches.
        size_bytes=_FLOAT_BYTES * (num_params + 2 * normalised) + _COUNTER_BYTES * len(convolutions),
    )


def _convolutions(spec: StudentSpec, shape: NetworkShape) -> Iterator[tuple[int, int, int, int]]:
    """Yield input channels, output channels, kernel size and output size of each convolution."""
    widths, depths = spec.arguments["widths"], spec.arguments["depths"]
    bottleneck = spec.arguments.get("block") == "bottleneck"
    size, inputs = shape.image_size, widths[0]
    yield shape.channels, inputs, 3, size
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        outputs = 4 * width if bottleneck else width
        for block in range(depth):
            before, stride = size, 2 if block == 0 and stage > 0 else 1
            size = -(-size // stride)
            if block == 0 and (stride != 1 or inputs != outputs):
                yield inputs, outputs, 1, size
            if bottleneck:
                yield inputs, width, 1, before
                yield width, width, 3, size
                yield width, outputs, 1, size
            else:
                yield inputs, width, 3, size
                yield width, width, 3, size
            inputs = outputs
