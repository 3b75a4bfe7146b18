"""Upper bounds on the cost of a candidate: explicit ones, shares of the teacher, and the defaults."""

from __future__ import annotations

from nas_distill.config import SpaceConfig
from nas_distill.records import Cost
from nas_distill.search.proposal.limits import Limits, make_limits

TEACHER = Cost(num_params=10_000, macs=1_000_000, size_bytes=40_000)


def test_students_must_be_smaller_than_the_teacher_by_default() -> None:
    limits = make_limits(SpaceConfig(), TEACHER)
    assert limits.rejection(Cost(num_params=9_999, macs=1, size_bytes=1)) is None
    assert limits.rejection(TEACHER) == "10,000 parameters; the teacher's size allows at most 9,999"
    assert limits.violations(TEACHER)["num_params"] > 0
    assert make_limits(SpaceConfig(allow_larger_than_teacher=True), TEACHER).rejection(TEACHER) is None


def test_the_tighter_bound_on_parameters_applies() -> None:
    assert make_limits(SpaceConfig(max_params=500), TEACHER).max_params == 500
    assert make_limits(SpaceConfig(max_params=10**9), TEACHER).max_params == 9_999
    relaxed = SpaceConfig(max_params=10**9, allow_larger_than_teacher=True)
    assert make_limits(relaxed, TEACHER).max_params == 10**9


def test_students_cost_no_more_multiply_accumulates_than_the_teacher_by_default() -> None:
    limits = make_limits(SpaceConfig(), TEACHER)
    assert limits.max_macs == TEACHER.macs
    assert limits.rejection(Cost(num_params=9_999, macs=TEACHER.macs, size_bytes=1)) is None
    assert limits.rejection(Cost(num_params=9_999, macs=TEACHER.macs + 1, size_bytes=1)) is not None
    assert make_limits(SpaceConfig(max_macs=10), TEACHER).max_macs == 10
    assert make_limits(SpaceConfig(allow_larger_than_teacher=True), TEACHER).max_macs is None
    assert make_limits(SpaceConfig(), TEACHER.model_copy(update={"macs": 0})).max_macs is None


def test_shares_of_the_teacher_are_resolved() -> None:
    shares = SpaceConfig(max_params="10%", max_macs="25%", max_size_bytes="0.5 %")
    limits = make_limits(shares, TEACHER)
    assert (limits.max_params, limits.max_macs, limits.max_size_bytes) == (1_000, 250_000, 200)
    assert limits.describe() == (
        "at most 1,000 parameters (--max-params 10%), at most 250,000 MACs (--max-macs 25%), "
        "at most 200 bytes (--max-size-bytes 0.5 %)"
    )
    assert make_limits(SpaceConfig(max_params="100%"), TEACHER).max_params == 9_999
    larger = SpaceConfig(max_params="100%", allow_larger_than_teacher=True)
    assert make_limits(larger, TEACHER).max_params == 10_000
    assert Limits().describe() == "no limits"


def test_a_cost_equal_to_its_bound_is_feasible() -> None:
    limits = Limits(max_params=100, max_macs=1000)
    at = limits.violations(Cost(num_params=100, macs=1000, size_bytes=1))
    over = limits.violations(Cost(num_params=101, macs=1001, size_bytes=1))
    assert all(value <= 0 for value in at.values())
    assert all(value > 0 for value in over.values())
