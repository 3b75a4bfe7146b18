"""What to do after a worker died: run its item again, give the item up, or stop. No Ray.

One policy serves two schedulers. Ray Tune schedules the trials of a search and of its assistants, and the search's
driver asks the policy about each dead worker. The executor of `search.backend` schedules everything else (folds,
confirmation, knowledge shards) and asks the same policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from enum import Enum

MAX_GIVEN_UP_IN_A_ROW = 3
"""So many given-up items in a row are the fault of the machine or the cluster, not of the items."""


class Decision(Enum):
    """How to continue after a worker died."""

    RETRY = "retry"
    """Run the item again in another worker."""

    GIVE_UP = "give up"
    """Leave the item and continue with the others."""

    STOP = "stop"
    """Start no further items: workers die whatever they run."""


class FailurePolicy:
    """Counts the failures of each work item and decides how to continue.

    Args:
        max_failures: How often an item is run again after its worker died.
        stop_after_success: Whether items given up in a row also stop the work once an item has succeeded. True where a
            given-up item is recorded as failed for good, False where the next call of the command runs it again.
    """

    def __init__(self, max_failures: int, *, stop_after_success: bool) -> None:
        self._max_failures = max_failures
        self._stop_after_success = stop_after_success
        self._failures: Counter[Hashable] = Counter()
        self._in_a_row = 0
        self._any_success = False

    @property
    def given_up_in_a_row(self) -> int:
        """Number of items given up since an item last made progress."""
        return self._in_a_row

    def failures(self, item: Hashable) -> int:
        """Return how often the item's workers died."""
        return self._failures[item]

    def failed(self, item: Hashable, *, made_progress: bool = False) -> Decision:
        """Count a failure of the item and decide how to continue.

        Args:
            item: The item whose worker died or raised.
            made_progress: Whether the worker had advanced the item before. Such a worker could work, so that its death
                says nothing about the cluster.
        """
        self._failures[item] += 1
        if self._failures[item] <= self._max_failures:
            return Decision.RETRY
        if made_progress:
            return Decision.GIVE_UP
        self._in_a_row += 1
        trusts_workers = self._any_success and not self._stop_after_success
        return Decision.GIVE_UP if trusts_workers or self._in_a_row < MAX_GIVEN_UP_IN_A_ROW else Decision.STOP

    def succeeded(self) -> None:
        """Note that an item made progress, so that workers do not die whatever they run."""
        self._in_a_row = 0
        self._any_success = True
