"""A local Ray cluster with simulated GPUs, and how busy its slots are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ray.cluster_utils import Cluster

from benchmarks.scale.sleeping import read_log
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.ray_private import loopback_only

_OBJECT_STORE_BYTES = 80 * 2**20
"""The smallest object store that Ray accepts; nothing passes through it here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One trial on one worker.

    Attributes:
        started: Start, Unix time.
        ended: End, Unix time.
        worker: Process ID of the worker.
        torch: Whether the worker had imported torch.
    """

    started: float
    ended: float
    worker: int
    torch: bool


def spans_of(folder: Path) -> list[Span]:
    """Return the spans of all trials in the order of their starts.

    While workers start, Tune may prepare a trial on one worker and then run it on another; the last start counts.
    """
    run = RunDirectory(folder)
    spans = []
    for path in run.trials.iterdir():
        log = read_log(run.trial(int(path.name)))
        started = [line for line in log if "started_at" in line][-1]
        ended = next(line["ended_at"] for line in reversed(log) if "ended_at" in line)
        spans.append(Span(started=started["started_at"], ended=ended, worker=started["pid"], torch=started["torch"]))
    return sorted(spans, key=lambda span: span.started)


@contextmanager
def simulated_cluster(nodes: int, gpus: int) -> Iterator[str]:
    """Run several nodes on this machine, reachable through the loopback interface only, and yield the address."""
    with loopback_only():
        cluster = Cluster()
        try:
            for number in range(nodes):
                print(f"node {number + 1}/{nodes}", flush=True)
                cluster.add_node(
                    num_cpus=gpus,
                    num_gpus=gpus,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    node_ip_address="127.0.0.1",
                    include_dashboard=False,
                )
            yield cluster.address
        finally:
            cluster.shutdown()


def usage_of(folder: Path, slots: int) -> dict[str, Any]:
    """Return the row of the table: how busy the slots were."""
    spans = spans_of(folder)
    by_worker: dict[int, list[Span]] = {}
    for span in spans:
        by_worker.setdefault(span.worker, []).append(span)
    pauses = [
        following.started - before.ended for worked in by_worker.values() for before, following in pairwise(worked)
    ]
    first, last_end = spans[0].started, max(span.ended for span in spans)
    full, last_start = spans[min(slots, len(spans)) - 1].started, spans[-1].started
    return {
        "slots": slots,
        "trials": len(spans),
        "busy": 100 * busy_share(spans, slots, (full, last_start)),
        "busy_overall": 100 * busy_share(spans, slots, (first, last_end)),
        "gap_s": float(np.median(pauses)) if pauses else None,
        "ramp_s": full - first,
        "torch": len({span.worker for span in spans if span.torch}),
    }


def busy_share(spans: Sequence[Span], slots: int, window: tuple[float, float]) -> float:
    """Return the share of the slots' time in a window (start, end) during which a trial ran, 0 to 1."""
    low, high = window
    if high <= low:
        return 1.0
    overlap = sum(max(min(span.ended, high) - max(span.started, low), 0.0) for span in spans)
    return overlap / (slots * (high - low))
