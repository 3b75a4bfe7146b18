"""Slots that are requested from a joined cluster."""

from __future__ import annotations

import itertools

import pytest
from ray.util import placement_group, placement_group_table, remove_placement_group

from nas_distill.search.backend.slots import MAX_REQUESTED, OwnSlots, RequestedSlots

pytestmark = pytest.mark.usefixtures("shared_cluster")


@pytest.fixture
def clock() -> itertools.count[float]:
    return itertools.count(step=1.0)  # every call of `take` looks at the cluster


def wait_until_placed(count: int) -> None:
    while sum(one["state"] == "CREATED" for one in placement_group_table().values()) < count:
        pass


def test_all_free_slots_are_filled_at_once_and_the_rest_is_requested(clock: itertools.count[float]) -> None:
    slots = RequestedSlots({"CPU": 0.5}, most=None, clock=clock.__next__)
    assert not slots.take(live=0, queued=0, startable=6)  # the requests have just been made
    assert slots.requested == 6
    wait_until_placed(4)
    held = []
    for given in range(4):
        assert slots.take(live=given, queued=given, startable=6 - given)
        held.append(placement_group([{"CPU": 0.5}]))  # as Tune does for the trial
    assert not slots.take(live=4, queued=4, startable=2)
    assert slots.requested == 0
    wait_until_placed(4)
    assert not slots.take(live=4, queued=0, startable=2)
    assert slots.requested == 2  # what an autoscaler sees
    assert not slots.take(live=4, queued=0, startable=2)

    slots.ended()  # the worker of a trial is free, and takes the next one
    assert slots.take(live=3, queued=0, startable=2)
    assert not slots.take(live=4, queued=0, startable=1)
    assert slots.requested == 1
    slots.close()
    for group in held:
        remove_placement_group(group)
    assert slots.requested == 0


def test_no_more_slots_are_requested_than_trials_may_run(clock: itertools.count[float]) -> None:
    slots = RequestedSlots({"CPU": 64.0}, most=3, clock=clock.__next__)
    assert not slots.take(live=1, queued=0, startable=None)
    assert slots.requested == 2
    assert not slots.take(live=3, queued=0, startable=10)
    assert slots.requested == 0
    unbounded = RequestedSlots({"CPU": 64.0}, most=None, clock=clock.__next__)
    assert not unbounded.take(live=0, queued=0, startable=None)
    assert unbounded.requested == MAX_REQUESTED
    unbounded.close()


def test_a_search_with_a_cluster_of_its_own_starts_as_many_trials_as_fit() -> None:
    slots = OwnSlots(2)
    assert [slots.take(live=live, queued=0, startable=9) for live in range(3)] == [True, True, False]
