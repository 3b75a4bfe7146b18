"""A sleeping search in a process of its own, which `benchmarks.scale.kills` starts and kills.

    python -m benchmarks.scale.killed_search FOLDER SETTINGS

SETTINGS is JSON, see `as_search`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.scale.sleeping import Sleep
from benchmarks.scale.sleeping_search import SleepingSearch, run_sleeping
from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.search.backend.cluster import ray_cluster


class PrintedProgress(NullProgress):
    """Print events."""

    def event(self, kind: str, message: str) -> None:
        """Print one event."""
        print(f"{kind}: {message}", flush=True)


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    resources = ResourcesConfig(max_parallel_trials=settings["workers"], gpus_per_trial=0.0)
    with ray_cluster(resources, PrintedProgress()):
        run_sleeping(folder, as_search(settings), resources, PrintedProgress())


def as_search(settings: dict[str, Any]) -> SleepingSearch:
    return SleepingSearch(
        trials=settings["trials"],
        epochs=settings["epochs"],
        sleep=Sleep(epoch_s=settings["epoch_s"], spread=0.5, checkpoint_every=settings["checkpoint_every"]),
        initial_points=settings["initial_points"],
        rule=settings["rule"],
    )


if __name__ == "__main__":
    main()
