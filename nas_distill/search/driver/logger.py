"""What a search tells: its events, in the run directory, and its progress, to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Mapping

from nas_distill.callbacks import BudgetLeft, EpochEnded, Progress
from nas_distill.records import TrialRecord
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.status import Tally, end_text

_ALIVE_EVERY_S = 60.0
"""So much of the time of searching is at most not told, when the driver is killed."""


class SearchLogger:
    """Tells of ends and of where the search stands.

    Args:
        run: Where events are written.
        progress: The watcher.
        quality: Name of the first quality objective.

    Attributes:
        tally: The trials that have ended.
    """

    def __init__(self, run: RunDirectory, progress: Progress, quality: str) -> None:
        self._run = run
        self._progress = progress
        self._started = self._alive_at = time.monotonic()
        self.tally = Tally(quality)

    def event(self, kind: str, text: str) -> None:
        """Tells the watcher of something that happens once."""
        self._progress.event(kind, text)

    def alive(self) -> None:
        """Notes in the run directory that the search goes on, once a minute however often it is called."""
        if time.monotonic() - self._alive_at >= _ALIVE_EVERY_S:
            self._alive_at = time.monotonic()
            self._run.log_event("alive")

    def ended(self, record: TrialRecord) -> None:
        """Tells of a trial's end."""
        quality = self.tally.quality
        worth: dict[str, object] = {"error": record.error}
        if record.metrics is not None:
            worth = {quality: float(getattr(record.metrics, quality))}
        self._run.log_event("trial", number=record.number, status=record.status.value, epochs=record.epochs, **worth)
        self._progress.event("trial", end_text(record, quality=quality))
        self._progress.trial_ended(record)

    def epoch_ended(self, event: EpochEnded) -> None:
        """Report the metrics of an epoch to callbacks."""
        self._progress.epoch_ended(event)

    def status(
        self,
        *,
        total: int | None,
        running: Mapping[int, tuple[int, int]],
        rejected: int,
        inherited: int,
        left: BudgetLeft,
    ) -> None:
        """Tells where the search stands; arguments as for `Tally.status`."""
        self._progress.status(
            self.tally.status(
                total=total,
                running=running,
                rejected=rejected,
                inherited=inherited,
                left=left,
                elapsed_s=time.monotonic() - self._started,
            )
        )
