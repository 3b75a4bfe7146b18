"""Fixtures: a shared Ray cluster, the context of the small run's trials, and searches in processes."""

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
    """Let all searches of a test module share one Ray cluster, because starting one takes longer than their trainings.

    Tests that run a search in a process of its own cover the start and the end of a cluster.
    """

    @contextmanager
    def use_shared(resources: ResourcesConfig) -> Iterator[None]:
        cluster._check_room(resources)
        yield

    with cluster.ray_cluster(ResourcesConfig()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "ray_cluster", use_shared)
        yield


@pytest.fixture
def searches() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Collect the processes that a test starts, and kill those that are still running at its end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            processes.kill_all(process)
