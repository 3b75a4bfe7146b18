"""What is told of a cluster that cannot be joined."""

from __future__ import annotations

import pytest

from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError
from nas_distill.search.backend.cluster import ray_cluster


def test_the_way_out_of_a_cluster_that_is_gone_is_a_local_one() -> None:
    with (
        pytest.raises(ClusterError, match=r"Ray at nowhere cannot be used.*or give --address local") as caught,
        ray_cluster(ResourcesConfig(address="nowhere")),
    ):
        pass
    assert "\n" not in str(caught.value)
