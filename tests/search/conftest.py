"""Shared fixtures: a Ray cluster per test process, the context of the small run, and searches as processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray

from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig
from nas_distill.search import service
from nas_distill.search.backend import cluster
from nas_distill.search.retrain import confirm
from nas_distill.trial.context import TrialContext, open_context
from tests.helpers import SmallRun
from tests.search import processes, worker_forks


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.worker_config())


@pytest.fixture(scope="session")
def forks() -> Iterator[str]:
    """Run the server of the workers of this process's clusters (see `worker_forks`)."""
    with worker_forks.fork_server() as folder:
        yield folder
        ray.shutdown()


@pytest.fixture(scope="module")
def shared_cluster(forks: str) -> Iterator[None]:
    """Let the tests of this process share one cluster of two CPUs: starting one takes longer than their trainings.

    Searches in this process join it. That a search starts and ends a cluster of its own is tested by searches in
    processes of their own.
    """

    @contextmanager
    def join(resources: ResourcesConfig, progress: Progress) -> Iterator[None]:
        cluster.wait_for_node(resources, progress)
        yield

    if not ray.is_initialized():
        with worker_forks.forked_workers(forks):
            cluster.start_local_cluster(num_cpus=2)
    with pytest.MonkeyPatch.context() as patch:
        for module in (service, confirm):
            patch.setattr(module, "ray_cluster", join)
        yield


@pytest.fixture
def no_cluster() -> Iterator[None]:
    """Disconnect from the shared cluster, for tests that start their own. The next module starts it again."""
    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture
def searches() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Collect the searches that a test starts as processes, and kill what is left of them."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            processes.kill_all(process)
