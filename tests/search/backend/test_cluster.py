"""A cluster that cannot be joined."""

from __future__ import annotations

import pytest

from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError
from nas_distill.search.backend.cluster import ray_cluster


@pytest.mark.usefixtures("no_cluster")
def test_a_cluster_that_cannot_be_joined_is_a_cluster_error() -> None:
    with pytest.raises(ClusterError) as caught, ray_cluster(ResourcesConfig(address="nowhere"), NullProgress()):
        pass
    assert (caught.value.code, caught.value.field) == ("cluster.unreachable", "resources.address")
    assert "\n" not in str(caught.value)
