"""When a search may start one more trial: slots of its own cluster, or requested slots of a joined one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from ray.util import placement_group, placement_group_table, remove_placement_group

from nas_distill.config import ResourcesConfig
from nas_distill.search.backend.cluster import joins_cluster, own_slots, trial_bundle

MAX_REQUESTED = 256
"""Most slots requested at once. Each that becomes free makes room for another request."""

_POLL_S = 0.5


class Slots(Protocol):
    """Decides whether one more trial may start."""

    def take(self, *, live: int, queued: int, startable: int | None) -> bool:
        """Return whether a trial may start now, and count its slot as taken.

        A trial is proposed only when it can start, so that each proposal is based on as many results as possible.

        Args:
            live: Number of trials that have started or are queued.
            queued: Number of trials that wait for their worker.
            startable: Number of trials that are left to start; None without a bound.
        """

    def ended(self) -> None:
        """Note that a trial ended: its worker, or its slot, is free."""

    def close(self) -> None:
        """Withdraw what was requested."""


def open_slots(resources: ResourcesConfig) -> Slots:
    """Return the slots of the connected cluster."""
    if not joins_cluster(resources):
        return OwnSlots(own_slots(resources))
    return RequestedSlots(trial_bundle(resources), most=resources.max_parallel_trials)


class OwnSlots:
    """The slots of a cluster that only this search uses (`Slots`).

    Args:
        count: Number of trials that fit.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def take(self, *, live: int, queued: int, startable: int | None) -> bool:  # noqa: ARG002 - see `Slots`
        """See `Slots`."""
        return live < self._count

    def ended(self) -> None:
        """See `Slots`."""

    def close(self) -> None:
        """See `Slots`."""


class RequestedSlots:
    """Slots that are requested from a cluster which others use too, and which may grow (`Slots`).

    A request is a placement group for one trial. All requests are made at once: those that fit are granted at once, and
    an autoscaler sees the others as demand. Once some are granted, all are withdrawn, and trials take the places that
    were granted. Until these trials have started, nothing is requested, because requests would compete with them.
    Requests end with this process, however it ends.

    Args:
        bundle: Resources of a trial, by name.
        most: Most trials at once; None for as many as fit.
        clock: Returns seconds.
    """

    def __init__(
        self, bundle: dict[str, float], *, most: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bundle = bundle
        self._most = most
        self._clock = clock
        self._requests: list[Any] = []
        self._free = 0
        self._polled_at: float | None = None

    @property
    def requested(self) -> int:
        """Number of requests that wait."""
        return len(self._requests)

    def take(self, *, live: int, queued: int, startable: int | None) -> bool:
        """See `Slots`."""
        wanted = MAX_REQUESTED if startable is None else startable
        if self._most is not None:
            wanted = min(wanted, self._most - live)
        self._poll(wanted, queued)
        if min(self._free, wanted) <= 0:
            return False
        self._free -= 1
        return True

    def ended(self) -> None:
        """See `Slots`."""
        self._free += 1

    def close(self) -> None:
        """See `Slots`."""
        self._resize(0)

    def _poll(self, wanted: int, queued: int) -> None:
        now = self._clock()
        if self._polled_at is not None and now - self._polled_at < _POLL_S:
            return
        self._polled_at = now
        if self._requests:
            table = placement_group_table()
            self._free += sum(table.get(one.id.hex(), {}).get("state") == "CREATED" for one in self._requests)
        self._resize(0 if queued or self._free else min(wanted, MAX_REQUESTED))

    def _resize(self, count: int) -> None:
        while len(self._requests) > max(count, 0):
            remove_placement_group(self._requests.pop())
        while len(self._requests) < count:
            self._requests.append(placement_group([self._bundle], name=f"nas_distill-request-{uuid.uuid4().hex}"))
