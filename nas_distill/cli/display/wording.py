"""How numbers are said to people."""

from __future__ import annotations

from nas_distill.callbacks import SearchStatus
from nas_distill.objectives import get_objective


def quality(name: str, value: float) -> str:
    """Returns a quality with its unit, such as "+1.25 points"."""
    unit = get_objective(name).unit
    number = f"{value:+.2f}" if unit == "points" else f"{value:.3f}"
    return f"{number} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Returns a duration at the precision people plan with, such as "1 h 05 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def counts(status: SearchStatus) -> str:
    """Returns how many trials are in which state, such as "4/16 ended, 2 running, 1 failed"."""
    ended = status.complete + status.stopped + status.failed
    of = "" if status.total is None else f"/{status.total}"
    parts = [f"{ended}{of} ended", f"{len(status.running)} running"]
    for name in ("stopped", "failed", "rejected"):
        count = getattr(status, name)
        if count:
            parts.append(f"{count} {name}")
    return ", ".join(parts)


def best(status: SearchStatus) -> str:
    """Returns the best student per size band; empty while there is none."""
    bands = [
        f"{band.label} {quality(status.quality, band.best_quality)}"
        for band in status.bands
        if band.best_quality is not None
    ]
    return f"best {status.quality}: {', '.join(bands)}" if bands else ""


def budget_left(status: SearchStatus) -> str:
    """Returns what is left of the budgets, such as "budget: 2 h 10 min, 340 epochs"; empty without one."""
    left = status.left
    parts = [] if left.time_s is None else [duration(left.time_s)]
    parts += [] if left.epochs is None else [f"{left.epochs:,} epochs"]
    parts += [] if left.patience is None else [f"{left.patience} full trials for a larger front"]
    return f"budget left: {', '.join(parts)}" if parts else ""


def time_left(status: SearchStatus) -> str:
    """Returns the estimate of the time left; empty while there is none, and at the end."""
    return f"about {duration(status.remaining_s)} left" if status.remaining_s else ""
