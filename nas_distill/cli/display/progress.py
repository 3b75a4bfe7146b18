"""Progress of long work: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from nas_distill.callbacks import EpochEnded, Progress, SearchStatus
from nas_distill.cli.display.wording import best, budget_left, counts, time_left
from nas_distill.records import TrialRecord

LINE_INTERVAL_S = 10.0
"""Minimum time between two plain lines about the same task, seconds."""


@contextmanager
def make_progress(stream: TextIO) -> Iterator[Progress]:
    """Yield a progress display on a stream and remove its live view at the end.

    Args:
        stream: Output stream. A terminal gets bars and tables; anything else, and TERM=dumb, gets plain lines without
            escape codes.
    """
    if not stream.isatty():
        yield PlainProgress(stream)
        return
    from rich.console import Console

    from nas_distill.cli.display.live import LiveProgress

    console = Console(file=stream)
    if console.is_dumb_terminal:
        yield PlainProgress(stream)
        return
    live = LiveProgress(console)
    with live.shown():
        yield live


class PlainProgress:
    """Progress as plain lines: every event, and steps and search status at most every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Per task: time of its last line or of its start; None once its end is written.
        self._since_s: dict[str, float | None] = {}

    def event(self, kind: str, message: str) -> None:
        """Write an event."""
        self._line(f"{kind}: {message}")

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Write the state of a task, unless its last line is recent."""
        if self._is_due(task, ended=done >= total):
            self._line(f"{task}: {done}/{total}" + (f", {detail}" if detail else ""))

    def status(self, status: SearchStatus) -> None:
        """Write the status of the search, unless its last line is recent."""
        ended = status.complete + status.stopped + status.failed
        if self._is_due("search", ended=status.total is not None and ended >= status.total):
            parts = (counts(status), best(status), budget_left(status), time_left(status))
            self._line("search: " + "; ".join(filter(None, parts)))

    def epoch_ended(self, event: EpochEnded) -> None:
        """Ignore the metrics: `status` shows the epochs of running trials."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Ignore the record: an event describes the trial."""

    def _is_due(self, task: str, *, ended: bool) -> bool:
        """Tell whether to write now: once at the end, and after each interval, so that a quick task is one line."""
        now = time.monotonic()
        if ended:
            already_written = self._since_s.get(task, now) is None
            self._since_s[task] = None
            return not already_written
        since_s = self._since_s.get(task)
        if since_s is None:
            self._since_s[task] = now
            return False
        if now - since_s < LINE_INTERVAL_S:
            return False
        self._since_s[task] = now
        return True

    def _line(self, text: str) -> None:
        clock = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        self._stream.write(f"{clock} {' '.join(text.split())}\n")
        self._stream.flush()
