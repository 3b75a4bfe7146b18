"""Metrics of a search on Ray's dashboard and in Prometheus (`deploy/grafana.json` plots them)."""

from __future__ import annotations

from ray.util.metrics import Gauge

from nas_distill.callbacks import SearchStatus
from nas_distill.objectives import get_objective

TRIALS, BEST, ASK = "nas_distill_trials", "nas_distill_best_quality", "nas_distill_ask_seconds"
STATES = ("running", "queued", "complete", "stopped", "failed", "rejected")


class SearchMetrics:
    """Publishes trials by state, the best quality, and how long the last proposal took.

    Args:
        run: Name of the run, the label `run` of every metric.
    """

    def __init__(self, run: str) -> None:
        self._labels = {"run": run}
        self._trials = Gauge(TRIALS, description="Trials by state.", tag_keys=("run", "state"))
        self._best = Gauge(
            BEST, description="Best value of the first quality objective.", tag_keys=("run", "objective")
        )
        self._ask = Gauge(ASK, description="Seconds that the last proposal took.", tag_keys=("run",))

    def asked(self, seconds: float) -> None:
        """Publish how long a proposal took."""
        self._ask.set(seconds, tags=self._labels)

    def status(self, status: SearchStatus) -> None:
        """Publish the state of the search."""
        for state in STATES:
            count = len(status.running) if state == "running" else getattr(status, state)
            self._trials.set(count, tags=self._labels | {"state": state})
        best = best_quality(status)
        if best is not None:
            self._best.set(best, tags=self._labels | {"objective": status.quality})


def best_quality(status: SearchStatus) -> float | None:
    """Return the best value of the first quality objective over all sizes; None while no student is complete."""
    values = [band.best_quality for band in status.bands if band.best_quality is not None]
    return min(values, key=get_objective(status.quality).minimised) if values else None
