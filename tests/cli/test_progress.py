from __future__ import annotations

import dataclasses
import io
import os
import pty
import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from rich.console import Console

from nas_distill.analysis.formatting import MINUS
from nas_distill.callbacks import Progress, SearchStatus, SizeBand
from nas_distill.cli.display.live import search_view
from nas_distill.cli.display.progress import LINE_INTERVAL_S, SILENCE_S, PlainProgress, make_progress


def make_status(complete: int = 3, failed: int = 1, remaining_s: float | None = 75.0) -> SearchStatus:
    return SearchStatus(
        total=16, complete=complete, stopped=0, failed=failed, running={7: (2, 12), 5: (11, 12)}, rejected=2,
        bands=(
            SizeBand(label="10k-32k", best_quality=1.234, number=3),
            SizeBand(label="32k-100k", best_quality=None, number=None),
            SizeBand(label="100k-320k", best_quality=-0.5, number=1),
        ),
        quality="gap_points", elapsed_s=30.0, remaining_s=remaining_s,
    )  # fmt: skip


def test_a_silent_search_says_what_it_waits_for() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.event("trial", "trial 3 is done")
    progress.break_silence(time.perf_counter() + SILENCE_S / 2)
    assert len(stream.getvalue().splitlines()) == 1
    progress.break_silence(time.perf_counter() + 2 * SILENCE_S)
    assert "trial 3 is done" in stream.getvalue().splitlines()[1]


def plain(work: Callable[[Progress], None]) -> list[str]:
    stream = io.StringIO()
    with make_progress(stream) as progress:
        work(progress)
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert "\x1b" not in stream.getvalue()
    return [line[9:] for line in lines]


def test_events_are_one_line_each() -> None:
    def work(progress: Progress) -> None:
        progress.event("data", "1797 images\nof 10 classes")
        progress.event("data", "again")

    assert plain(work) == ["data: 1797 images of 10 classes", "data: again"]


def test_quick_work_is_one_line() -> None:
    def work(progress: Progress) -> None:
        for _ in range(2):
            for done in range(101):
                progress.step("teacher", done, 100, f"loss {done}")
            progress.step("teacher", 100, 100, "already written")

    assert plain(work) == ["teacher: 100/100, loss 100"] * 2


def test_a_step_that_is_done_at_once_is_written() -> None:
    assert plain(lambda progress: progress.step("data", 5, 5)) == ["data: 5/5"]


def test_steps_are_written_again_after_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, LINE_INTERVAL_S - 1, LINE_INTERVAL_S, LINE_INTERVAL_S + 1])
    monkeypatch.setattr("nas_distill.cli.display.progress.time.monotonic", lambda: next(clock))

    def work(progress: Progress) -> None:
        for done in range(4):
            progress.step("teacher", done, 100)

    assert plain(work) == ["teacher: 2/100"]


def test_the_status_of_a_search_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(progress: Progress) -> None:
        progress.status(make_status())
        progress.status(make_status())
        progress.status(make_status(complete=15, remaining_s=0.0))

    clock = iter([0.0, LINE_INTERVAL_S, LINE_INTERVAL_S + 1])
    monkeypatch.setattr("nas_distill.cli.display.progress.time.monotonic", lambda: next(clock))
    during, end = plain(work)
    assert during == (
        "search: 4/16 done, 2 running, 1 failed, 2 rejected; "
        f"best gap_points: 10k-32k +1.23 points, 100k-320k {MINUS}0.50 points; about 1 min 15 s left"
    )
    assert end.startswith("search: 16/16 done")
    assert end.endswith(f"{MINUS}0.50 points")


def test_the_live_view_shows_counts_trials_and_sizes() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(search_view(make_status()))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in (
        "4/16 done",
        "1 failed",
        "2 rejected",
        "about 1 min 15 s left",
        "trial 5",
        "11/12 epochs",
        "Capacity gap",
    ):
        assert part in text
    assert re.search(r"10k-32k +\+1.23 points +3", text)
    assert re.search(r"32k-100k +- ", text)


def test_the_live_view_shows_at_most_twelve_running_trials() -> None:
    status = make_status()
    console = Console(file=io.StringIO(), width=120)
    console.print(search_view(dataclasses.replace(status, running=dict.fromkeys(range(40), (1, 12)))))
    assert isinstance(console.file, io.StringIO)
    assert "and 28 more" in console.file.getvalue()


def on_a_terminal(work: Callable[[Progress], None], monkeypatch: pytest.MonkeyPatch, term: str) -> str:
    monkeypatch.setenv("TERM", term)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream, make_progress(stream) as progress:
        work(progress)
    chunks = []
    with suppress(OSError):  # Linux raises it at the end of a pseudo-terminal
        while chunk := os.read(master, 65536):
            chunks.append(chunk)
    os.close(master)
    return b"".join(chunks).decode()


def work_on_everything(progress: Progress) -> None:
    progress.event("data", "1797 images [not markup]")
    progress.step("teacher", 3, 30, "[bold]loss 0.1")
    progress.status(make_status())


def test_a_terminal_gets_a_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_a_terminal(work_on_everything, monkeypatch, "xterm-256color")
    assert "1797 images [not markup]" in text
    assert "4/16 done" in text
    assert "[bold]loss 0.1" in text
    assert "\x1b[" in text


def test_a_finished_bar_becomes_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(progress: Progress) -> None:
        progress.step("teacher", 3, 30)
        progress.step("teacher", 30, 30, "97 %")

    assert re.search(r"teacher.*30/30, 97 %", on_a_terminal(work, monkeypatch, "xterm-256color"))


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_a_terminal(work_on_everything, monkeypatch, "dumb")
    assert "\x1b" not in text
    assert "data: 1797 images" in text


def test_the_live_view_is_removed_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(progress: Progress) -> None:
        progress.step("teacher", 3, 30)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        on_a_terminal(fail, monkeypatch, "xterm-256color")
    assert "goes on" in on_a_terminal(
        lambda progress: progress.event("after", "goes on"), monkeypatch, "xterm-256color"
    )
