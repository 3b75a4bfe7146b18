"""Trials in flight, and what the death of a worker means for its trial and for the search."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from nas_distill.records.task import TrialTask

_BEFORE_GIVING_UP = 3


@dataclass(slots=True)
class RunningTrial:
    """A trial with a worker: epochs on disk when it was handed out, and now."""

    task: TrialTask
    before: int
    done: int


class FailurePolicy:
    """Counts deaths, and holds the trials whose worker died before their first epoch.

    One such death may be the candidate's fault; several in a row are the machine's or the cluster's. Which it was shows
    once another trial trains, or once too many are held.

    Args:
        forgiven: How often a trial goes on in another worker.
    """

    def __init__(self, forgiven: int) -> None:
        self._forgiven = forgiven
        self._count: Counter[int] = Counter()
        self._held: list[tuple[RunningTrial, str]] = []

    def __len__(self) -> int:
        """Returns how many trials are held."""
        return len(self._held)

    def forgives(self, number: int) -> bool:
        """Counts a death of the trial's worker; returns whether the trial goes on in another."""
        self._count[number] += 1
        return self._count[number] <= self._forgiven

    def hold(self, running_trial: RunningTrial, error: str) -> str | None:
        """Holds a trial; returns why the search should end, once there are too many."""
        self._held.append((running_trial, error))
        if len(self._held) < _BEFORE_GIVING_UP:
            return None
        return f"{len(self._held)} workers in a row died before their first epoch (the last: {error})"

    def release(self) -> tuple[RunningTrial, str] | None:
        """Returns a held trial and its error, which is then held no longer; None when there is none."""
        return self._held.pop() if self._held else None
