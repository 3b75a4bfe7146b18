"""Parameters, multiply-accumulates and latency: do they order students alike?"""

from __future__ import annotations

import pandas as pd
import pytest

from nas_distill.analysis.cost_ranks import compare_costs


def _trials(macs: list[float], latency: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"number": range(len(macs)), "macs": macs, "num_params": macs, "latency_ms": latency}, dtype="float64"
    )


def test_equal_orders_have_no_reversals() -> None:
    found = compare_costs(_trials([1.0, 2.0, 3.0, 4.0], [1.0, 1.5, 1.6, 9.0]))
    assert found is not None
    assert found.tau == {"macs": pytest.approx(1.0), "num_params": pytest.approx(1.0)}
    assert found.reversals == {"macs": 0.0, "num_params": 0.0}
    assert found.example == ""


def test_one_slow_small_student_is_counted_and_named() -> None:
    found = compare_costs(_trials([10.0, 20.0, 40.0, 5.0], [1.0, 2.0, 2.0, 8.0]))
    assert found is not None
    assert found.reversals["macs"] == 3 / 6
    assert -1.0 < found.tau["macs"] < 1.0
    assert found.example == "Trial 3 has 8.0 times fewer MACs than trial 2 and takes 4.0 times as long."
    assert "50 %" in found.sentences()


def test_small_differences_are_no_example() -> None:
    found = compare_costs(_trials([10.0, 10.5, 11.0], [1.0, 0.99, 0.98]))
    assert found is not None
    assert found.reversals["macs"] == 1.0
    assert found.example == ""


def test_unmeasured_and_repeated_students_do_not_count() -> None:
    assert compare_costs(_trials([1.0, 2.0, 3.0], [1.0, float("nan"), 2.0])) is None
    assert compare_costs(_trials([1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 2.0])) is None
