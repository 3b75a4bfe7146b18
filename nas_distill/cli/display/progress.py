"""Shows long work: live on a terminal, one plain line per event elsewhere."""

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
"""Seconds between two lines about the same task where nothing can be redrawn."""


@contextmanager
def make_progress(stream: TextIO) -> Iterator[Progress]:
    """Yields a watcher that writes to `stream`; what it draws live is taken down at the end.

    Args:
        stream: A terminal (not TERM=dumb) gets bars and tables, anything else plain lines, no escape codes.
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
    """Writes one line per event; steps and states at most every ten seconds, and their ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # By task, when its last line was written or it began; None once it has ended and said so.
        self._since_s: dict[str, float | None] = {}

    def event(self, kind: str, message: str) -> None:
        """Writes the event."""
        self._line(f"{kind}: {message}")

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Writes how far `task` is, unless it did so a moment ago."""
        if self._is_due(task, ended=done >= total):
            self._line(f"{task}: {done}/{total}" + (f", {detail}" if detail else ""))

    def status(self, status: SearchStatus) -> None:
        """Writes where the search stands, unless it did so a moment ago."""
        ended = status.complete + status.stopped + status.failed
        if self._is_due("search", ended=status.total is not None and ended >= status.total):
            parts = (counts(status), best(status), budget_left(status), time_left(status))
            self._line("search: " + "; ".join(filter(None, parts)))

    def epoch_ended(self, event: EpochEnded) -> None:
        """Ignore the metrics: `status` shows the epochs of running trials."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Ignore the record: an event describes the trial."""

    def _is_due(self, task: str, *, ended: bool) -> bool:
        """Says whether to write now: at the end, and each interval, so that quick work is one line."""
        now = time.monotonic()
        if ended:
            was_told = self._since_s.get(task, now) is None
            self._since_s[task] = None
            return not was_told
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
