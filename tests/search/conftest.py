"""What the tests of a module share: a Ray cluster, and what trials of the small run share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nas_distill.config import ResourcesConfig
from nas_distill.search import cluster, service
from nas_distill.workplace import TrialContext, open_context
from tests.helpers import SmallRun


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.workplace())


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
