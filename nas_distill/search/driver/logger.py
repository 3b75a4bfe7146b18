"""Reports of a search: events in the run directory, and progress for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from nas_distill.callbacks import BudgetLeft, EpochEnded, Progress, SearchStatus
from nas_distill.records import TrialRecord
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.sanity import warnings_of
from nas_distill.search.driver.status import TrialCounts, end_text

_ALIVE_INTERVAL_S = 60.0
"""A search that is killed loses at most this much of its recorded time."""


class SearchLogger:
    """Reports ended trials and the state of the search.

    Args:
        run: The run directory, where events are written.
        progress: Watcher of the search.
        quality: Name of the first quality objective.

    Attributes:
        counts: Counts of the ended trials.
        status_watchers: Called with the state of the search, besides `progress`.
    """

    def __init__(self, run: RunDirectory, progress: Progress, quality: str) -> None:
        self._run = run
        self._progress = progress
        self._started = self._alive_at = time.monotonic()
        self.counts = TrialCounts(quality)
        self.status_watchers: list[Callable[[SearchStatus], None]] = []

    def event(self, kind: str, text: str) -> None:
        """Report something that happens once to the watcher."""
        self._progress.event(kind, text)

    def retry(self, number: int, error: str) -> None:
        """Report that a trial continues in another worker."""
        self._run.log_event("retry", number=number, error=error)
        self._progress.event("retry", f"trial {number} continues in another worker: {error}")

    def alive(self) -> None:
        """Write to the run directory that the search goes on, at most once a minute."""
        if time.monotonic() - self._alive_at >= _ALIVE_INTERVAL_S:
            self._alive_at = time.monotonic()
            self._run.log_event("alive")

    def ended(self, record: TrialRecord) -> None:
        """Report an ended trial."""
        quality = self.counts.quality
        result: dict[str, object] = {"error": record.error}
        if record.metrics is not None:
            result = {quality: float(getattr(record.metrics, quality))}
        self._run.log_event("trial", number=record.number, status=record.status.value, epochs=record.epochs, **result)
        self._progress.event("trial", end_text(record, quality=quality))
        if record.metrics is not None:
            for warning in warnings_of(record, num_classes=len(record.metrics.class_gap_points)):
                self._progress.event("warning", warning)
        self._progress.trial_ended(record)

    def epoch_ended(self, event: EpochEnded) -> None:
        """Report the metrics of an epoch to callbacks."""
        self._progress.epoch_ended(event)

    def status(
        self,
        *,
        total: int | None,
        running: Mapping[int, tuple[int, int]],
        queued: int,
        rejected: int,
        inherited: int,
        left: BudgetLeft,
    ) -> None:
        """Report the state of the search; arguments as in `TrialCounts.status`."""
        status = self.counts.status(
            total=total,
            running=running,
            queued=queued,
            rejected=rejected,
            inherited=inherited,
            left=left,
            elapsed_s=time.monotonic() - self._started,
        )
        self._progress.status(status)
        for watcher in self.status_watchers:
            watcher(status)
