"""What tests share: a Ray cluster, what trials of the small run share, and the end of the searches that they start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nas_distill.config import ResourcesConfig
from nas_distill.search import service
from nas_distill.search.backend import cluster
from nas_distill.trial.context import TrialContext, open_context
from tests.helpers import SmallRun
from tests.search import processes


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.worker_config())


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[None]:
    """Has searches of this process share a cluster: each would start its own, which takes longer than their trainings.

    That a search starts and ends one is left to the tests that run it in a process of its own.
    """

    @contextmanager
    def at_hand(resources: ResourcesConfig) -> Iterator[None]:
        cluster._check_room(resources)
        yield

    with cluster.ray_cluster(ResourcesConfig()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "ray_cluster", at_hand)
        yield


@pytest.fixture
def searches() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Takes searches that a test starts as processes, and ends what is left of them."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            processes.kill_all(process)
