"""JSON cells of the table of trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas_distill.analysis.trials.cells import (
    encode_cell,
    parse_arguments,
    parse_cell,
    parse_gaps,
    parse_losses,
    parse_recipe,
    parse_recipe_fields,
)
from nas_distill.analysis.trials.study_reader import load_frame
from tests.report.factory import make_record, make_run


def test_cells_of_a_trial_hold_the_values_of_its_record(tmp_path: Path) -> None:
    record = make_record(0, gap_points=1.25, num_params=1000)
    assert record.metrics is not None
    row = load_frame(make_run(tmp_path, [record])).iloc[0]
    assert parse_recipe(row["recipe"]) == record.recipe
    assert parse_recipe_fields(row["recipe"]) == record.recipe.model_dump(mode="json")
    assert parse_losses(row["losses"]) == {name: dict(terms) for name, terms in record.recipe.losses.items()}
    assert parse_arguments(row["arguments"]) == {"depths": [1, 2, 1], "stem_type": "deep", "width": 8}
    assert parse_gaps(row["class_gap_points"]) == record.metrics.class_gap_points
    assert parse_gaps(row["curve_gap_points"]) == tuple(point.gap_points for point in record.curve)


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan, ""])
def test_a_missing_cell_is_empty(missing: object) -> None:
    assert (parse_recipe(missing), parse_cell(missing)) == (None, None)
    assert parse_recipe_fields(missing) == parse_losses(missing) == parse_arguments(missing) == {}
    assert parse_gaps(missing) == ()


def test_a_class_without_images_has_no_gap() -> None:
    assert encode_cell([1.0, None]) == "[1.0,null]"
    assert parse_gaps("[1.0,null]") == (1.0, None)
    assert encode_cell(None) is None
