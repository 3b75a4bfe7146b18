"""The live view on a terminal: progress bars, the running trials and the best student per size."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas_distill.analysis.formatting import duration, quantity
from nas_distill.analysis.initial_weights import label_initial_weights
from nas_distill.callbacks import EpochEnded, SearchStatus
from nas_distill.cli.display import wording
from nas_distill.objectives import get_objective
from nas_distill.records import RANDOM, TrialRecord

MAX_RUNNING_SHOWN = 12
"""Running trials that get a bar of their own; more would push the table off the screen."""


class LiveProgress:
    """Progress that redraws its view several times per second and prints events above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: SearchStatus | None = None
        self._tasks: dict[str, TaskID] = {}
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the view while the block runs and remove it at the end."""
        live = Live(
            get_renderable=self._view,
            console=self._console,
            transient=True,
            # Output that is redirected to a file must not appear on the screen.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        with live:
            yield

    def event(self, kind: str, message: str) -> None:
        """Print an event above the view."""
        self._console.print(Text.assemble((f"{kind} ", "bold cyan"), message))

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Update the bar of a task. A finished task is printed as one line instead."""
        if done >= total:
            identity = self._tasks.pop(task, None)
            if identity is not None:
                self._bars.remove_task(identity)
            self.event(task, f"{done}/{total}" + (f", {detail}" if detail else ""))
            return
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(escape(task), total=total, detail="")
        self._bars.update(self._tasks[task], completed=done, total=total, detail=escape(detail))

    def status(self, status: SearchStatus) -> None:
        """Update the view of the search."""
        self._status = status

    def epoch_ended(self, event: EpochEnded) -> None:
        """Ignore the metrics: `status` shows the epochs of running trials."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Ignore the record: an event describes the trial."""

    def _view(self) -> RenderableType:
        status = self._status
        parts: list[RenderableType] = [] if status is None else [search_view(status)]
        return Group(*parts, self._bars)


def search_view(status: SearchStatus) -> RenderableType:
    """Return the view of a search: counts, running trials and the best student per size."""
    ended = status.complete + status.stopped + status.failed
    head = Table.grid(padding=(0, 2))
    elapsed = f"{duration(status.elapsed_s)} elapsed"
    head.add_row(
        Text("search", style="bold cyan"),
        ProgressBar(total=status.total, completed=ended, width=20),
        Text(wording.counts(status), style="red" if status.failed else ""),
        Text(", ".join(filter(None, (elapsed, wording.time_left(status), wording.budget_left(status)))), style="dim"),
    )
    body = Table.grid(padding=(0, 4))
    body.add_row(_running(status), _bands(status))
    return Group(head, Padding(body, (0, 0, 0, 2)))


def _running(status: SearchStatus) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=False)
    for number, (done, total) in sorted(status.running.items())[:MAX_RUNNING_SHOWN]:
        table.add_row(
            f"trial {number}",
            ProgressBar(total=max(total, 1), completed=done, width=20),
            f"{done}/{total} epochs",
        )
    hidden = len(status.running) - MAX_RUNNING_SHOWN
    if hidden > 0:
        table.add_row(f"and {hidden} more", "", "")
    return table


def _bands(status: SearchStatus) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("parameters", justify="right")
    objective = get_objective(status.quality)
    table.add_column(objective.label, justify="right")
    table.add_column("trial", justify="right")
    starts = any(band.initial_weights not in (None, RANDOM) for band in status.bands)
    if starts:
        table.add_column("starts from")
    for band in status.bands:
        if band.best_quality is None:
            table.add_row(band.label, "-", "")
        else:
            start = [escape(label_initial_weights(band.initial_weights or RANDOM))] if starts else []
            table.add_row(band.label, quantity(objective, band.best_quality), str(band.number), *start)
    return table
