"""The failure policy, without workers."""

from __future__ import annotations

import pytest

from nas_distill.search.driver.failures import Decision, FailurePolicy


def test_an_item_is_retried_max_failures_times_and_then_given_up() -> None:
    policy = FailurePolicy(2, stop_after_success=True)
    assert [policy.failed("a") for _ in range(3)] == [Decision.RETRY, Decision.RETRY, Decision.GIVE_UP]
    assert policy.failures("a") == 3
    assert policy.failures("b") == 0


@pytest.mark.parametrize("stop_after_success", [True, False])
def test_three_given_up_items_in_a_row_stop_the_work(stop_after_success: bool) -> None:
    policy = FailurePolicy(0, stop_after_success=stop_after_success)
    assert [policy.failed(item) for item in "abc"] == [Decision.GIVE_UP, Decision.GIVE_UP, Decision.STOP]
    assert policy.given_up_in_a_row == 3


def test_a_success_resets_the_row() -> None:
    policy = FailurePolicy(0, stop_after_success=True)
    policy.failed("a")
    policy.failed("b")
    policy.succeeded()
    assert [policy.failed(item) for item in "cde"] == [Decision.GIVE_UP, Decision.GIVE_UP, Decision.STOP]


def test_after_a_success_given_up_items_need_not_stop_the_work() -> None:
    policy = FailurePolicy(0, stop_after_success=False)
    policy.succeeded()
    assert [policy.failed(item) for item in "abcd"] == [Decision.GIVE_UP] * 4


def test_an_item_that_made_progress_does_not_count_towards_failures_in_a_row() -> None:
    policy = FailurePolicy(0, stop_after_success=True)
    assert [policy.failed(item, made_progress=True) for item in "abcd"] == [Decision.GIVE_UP] * 4
    assert policy.given_up_in_a_row == 0
