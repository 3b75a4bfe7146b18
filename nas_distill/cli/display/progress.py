"""Progress of long work: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from nas_distill.callbacks import EpochEnded, Progress, SearchStatus
from nas_distill.cli.display.wording import best, budget_left, counts, time_left
from nas_distill.records import TrialRecord

SILENCE_S = 25.0
"""Time without a line after which one says that the program still waits, seconds."""

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
        with _plain(stream) as plain:
            yield plain
        return
    from rich.console import Console

    from nas_distill.cli.display.live import LiveProgress

    console = Console(file=stream)
    if console.is_dumb_terminal:
        with _plain(stream) as plain:
            yield plain
        return
    live = LiveProgress(console)
    with live.shown():
        yield live


@contextmanager
def _plain(stream: TextIO) -> Iterator[PlainProgress]:
    """Yield plain lines, with a thread that says after a while of silence what the program waits for."""
    plain, ended = PlainProgress(stream), threading.Event()

    def watch() -> None:
        while not ended.wait(SILENCE_S / 6):
            plain.break_silence(time.perf_counter())

    thread = threading.Thread(target=watch, daemon=True, name="progress")
    thread.start()
    try:
        yield plain
    finally:
        ended.set()
        thread.join()


class PlainProgress:
    """Progress as plain lines: every event, and steps and search status at most every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Per task: time of its last line or of its start; None once its end is written.
        self._since_s: dict[str, float | None] = {}
        self._written_s = self._news_s = time.perf_counter()
        self._last = "start"
        self._lock = threading.Lock()

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

    def break_silence(self, now_s: float) -> None:
        """Write what the last news were, if there was no line for `SILENCE_S`.

        Args:
            now_s: Time, as `time.perf_counter` returns it.
        """
        if now_s - self._written_s >= SILENCE_S:
            silent_s = now_s - self._news_s
            self._write(f"waiting: nothing new for {silent_s:.0f} s; the last line was: {self._last:.80}")

    def _line(self, text: str) -> None:
        self._last, self._news_s = " ".join(text.split()), time.perf_counter()
        self._write(text)

    def _write(self, text: str) -> None:
        clock = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        with self._lock:
            self._written_s = time.perf_counter()
            self._stream.write(f"{clock} {' '.join(text.split())}\n")
            self._stream.flush()
