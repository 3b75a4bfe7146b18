from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.common.cost_estimator import cost_of
from benchmarks.search_quality.mapping import RowMap, describe
from benchmarks.search_quality.synthetic import synthetic_table
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import load_space
from tests.benchmarks.tables import RECIPE, make_cost, make_row, make_spec
from tests.helpers import make_space_context


def test_every_row_is_nearest_to_itself_at_distance_zero() -> None:
    rows = synthetic_table(candidates=30, epochs=3).rows
    found = RowMap(rows)
    for index, row in enumerate(rows):
        distances = found.distances(describe(row.spec, row.recipe, row.cost))
        assert distances[index] == 0.0
        assert distances.min() == 0.0
        assert distances.max() <= 2.0


def test_the_nearest_free_row_is_chosen() -> None:
    found = RowMap([make_row(0), make_row(4), make_row(9)])
    wanted = describe(make_spec(4), RECIPE, make_cost(4))
    assert found.nearest(wanted, np.array([True, True, True])) == 1
    assert found.nearest(wanted, np.array([True, False, True])) == 2  # sizes are compared by ratio
    assert found.nearest(wanted, np.array([False, False, False])) is None


def test_another_loss_has_a_small_distance() -> None:
    rows = [make_row(0), make_row(0)]
    found = RowMap(rows)
    other = RECIPE.model_copy(update={"losses": {"kd": {"weight": 0.9, "temperature": 4.0}}})
    same, different = (found.distances(describe(make_spec(0), recipe, make_cost(0)))[0] for recipe in (RECIPE, other))
    assert same == 0.0
    assert 0.0 < different < 0.2


def test_analytic_costs_equal_measured_costs() -> None:
    shapes = {
        "resnet": NetworkShape(num_classes=7, channels=3, image_size=33),
        "tiny": NetworkShape(num_classes=10, channels=1, image_size=8),
    }
    for name, shape in shapes.items():
        sampled = sample_space(load_space(name), 16, seed=5, context=make_space_context())
        specs = [spec for spec in sampled if spec.architecture == "small_resnet"]
        assert len(specs) >= 6
        for spec in specs[:6]:
            measured = measure_cost(
                spec, num_classes=shape.num_classes, channels=shape.channels, image_size=shape.image_size
            )
            found = cost_of(spec, shape)
            assert (found.num_params, found.macs, found.size_bytes) == (
                measured.num_params, measured.macs, measured.size_bytes,
            )  # fmt: skip


def test_rows_with_the_same_initial_weights_are_nearest() -> None:
    rows = [make_row(1), replace(make_row(30), spec=make_spec(30).model_copy(update={"initial_weights": "teacher"}))]
    wanted = make_spec(1).model_copy(update={"initial_weights": "teacher"})
    distances = RowMap(rows).distances(describe(wanted, RECIPE, make_cost(1)))
    assert distances[0] == 1.0
    assert distances[1] < 1.0
