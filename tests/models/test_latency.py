from __future__ import annotations

import pytest
import torch

from nas_distill.errors import SpaceError
from nas_distill.models.latency import measure_latency
from nas_distill.records import StudentSpec
from tests.helpers import TINY_SPEC


def test_a_network_of_many_times_the_work_takes_longer() -> None:
    wide = StudentSpec(architecture="small_resnet", arguments={"widths": (96, 96), "depths": (2, 2)})
    small, large = (
        measure_latency(spec, num_classes=10, channels=1, image_size=32, min_run_time_s=0.05)
        for spec in (TINY_SPEC, wide)
    )
    assert 0.0 < small.median_ms < large.median_ms
    assert small.iqr_ms >= 0.0


def test_it_leaves_torchs_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_latency(TINY_SPEC, num_classes=10, channels=1, image_size=8, min_run_time_s=0.01)
    assert torch.equal(torch.rand(1), expected)


def test_what_cannot_be_built_is_a_space_error() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (1, 1)})
    with pytest.raises(SpaceError):
        measure_latency(spec, num_classes=10, channels=1, image_size=8)
