"""The status of a search in words."""

from __future__ import annotations

from nas_distill.analysis.formatting import duration, quantity
from nas_distill.callbacks import SearchStatus
from nas_distill.objectives import get_objective


def counts(status: SearchStatus) -> str:
    """Return the number of trials in each state, such as "4/16 done, 2 running, 1 failed"."""
    done = status.complete + status.stopped + status.failed
    of = "" if status.total is None else f"/{status.total}"
    parts = [f"{done}{of} done", f"{len(status.running)} running"]
    for name in ("queued", "stopped", "failed", "rejected"):
        count = getattr(status, name)
        if count:
            parts.append(f"{count} {name}")
    return ", ".join(parts)


def best(status: SearchStatus) -> str:
    """Return the best student per size band; empty while no student is complete."""
    objective = get_objective(status.quality)
    bands = [
        f"{band.label} {quantity(objective, band.best_quality)}"
        for band in status.bands
        if band.best_quality is not None
    ]
    return f"best {status.quality}: {', '.join(bands)}" if bands else ""


def budget_left(status: SearchStatus) -> str:
    """Return what is left of the budgets, such as "budget left: 340 epochs"; empty without such a budget."""
    left = status.left
    parts = [] if left.time_s is None else [duration(max(0.0, left.time_s))]
    parts += [] if left.epochs is None else [f"{left.epochs:,} epochs"]
    parts += [] if left.patience is None else [f"{left.patience} trials to improve the front"]
    return f"budget left: {', '.join(parts)}" if parts else ""


def time_left(status: SearchStatus) -> str:
    """Return the estimate of the time left; empty without an estimate and at the end."""
    return f"about {duration(status.remaining_s)} left" if status.remaining_s else ""
