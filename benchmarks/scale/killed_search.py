"""A sleeping search as a process of its own, for `search_kills.py` to kill: `_killed_search.py FOLDER SETTINGS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.scale.sleeping import Sleep
from benchmarks.scale.sleeping_search import Sleeping, run_sleeping
from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.search.backend.cluster import ray_cluster


class Loud(NullProgress):
    """Prints events."""

    def event(self, kind: str, message: str) -> None:
        """Prints it."""
        print(f"{kind}: {message}", flush=True)


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    resources = ResourcesConfig(max_parallel_trials=settings["workers"], gpus_per_trial=0.0)
    with ray_cluster(resources):
        run_sleeping(folder, wanted_of(settings), resources, Loud())


def wanted_of(settings: dict[str, Any]) -> Sleeping:
    return Sleeping(
        trials=settings["trials"],
        epochs=settings["epochs"],
        sleep=Sleep(epoch_s=settings["epoch_s"], spread=0.5, checkpoint_every=settings["checkpoint_every"]),
        points=settings["points"],
        rule=settings["rule"],
    )


if __name__ == "__main__":
    main()
