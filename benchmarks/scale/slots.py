"""How busy slots are kept: a local cluster of several nodes with made-up GPUs, and when which worker slept."""

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

_PAUSED_OBJECT_STORE = 80 * 2**20
"""The least that Ray takes: nothing passes through it here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When a trial was slept through, Unix time, by which process, and whether that had imported torch."""

    begun: float
    ended: float
    worker: int
    torch: bool


def spans_of(folder: Path) -> list[Span]:
    """Returns the spans of all trials, in the order in which they began.

    While workers start, Tune may prepare a trial in one and then give it to another that is ready; the last one counts.
    """
    run = RunDirectory(folder)
    spans = []
    for path in run.trials.iterdir():
        log = read_log(run.trial(int(path.name)))
        begun = [line for line in log if "begun_at" in line][-1]
        ended = next(line["ended_at"] for line in reversed(log) if "ended_at" in line)
        spans.append(Span(begun=begun["begun_at"], ended=ended, worker=begun["pid"], torch=begun["torch"]))
    return sorted(spans, key=lambda span: span.begun)


@contextmanager
def made_up_cluster(nodes: int, gpus: int) -> Iterator[str]:
    """Runs several nodes on this machine, reached over loopback alone, and yields the address."""
    with loopback_only():
        cluster = Cluster()
        try:
            for number in range(nodes):
                print(f"node {number + 1}/{nodes}", flush=True)
                cluster.add_node(
                    num_cpus=gpus,
                    num_gpus=gpus,
                    object_store_memory=_PAUSED_OBJECT_STORE,
                    node_ip_address="127.0.0.1",
                    include_dashboard=False,
                )
            yield cluster.address
        finally:
            cluster.shutdown()


def usage_of(folder: Path, slots: int) -> dict[str, Any]:
    """Returns how busy the slots were."""
    spans = spans_of(folder)
    by_worker: dict[int, list[Span]] = {}
    for span in spans:
        by_worker.setdefault(span.worker, []).append(span)
    pauses = [following.begun - before.ended for worked in by_worker.values() for before, following in pairwise(worked)]
    first, last_end = spans[0].begun, max(span.ended for span in spans)
    full, last_begun = spans[min(slots, len(spans)) - 1].begun, spans[-1].begun
    return {
        "slots": slots,
        "trials": len(spans),
        "busy": 100 * busy_share(spans, slots, (full, last_begun)),
        "busy_overall": 100 * busy_share(spans, slots, (first, last_end)),
        "gap_s": float(np.median(pauses)) if pauses else None,
        "ramp_s": full - first,
        "torch": len({span.worker for span in spans if span.torch}),
    }


def busy_share(spans: Sequence[Span], slots: int, window: tuple[float, float]) -> float:
    """Returns the share of the slots' time within a window in which a trial ran."""
    low, high = window
    if high <= low:
        return 1.0
    overlap = sum(max(min(span.ended, high) - max(span.begun, low), 0.0) for span in spans)
    return overlap / (slots * (high - low))
