"""Latency: what is timed, and what is reported."""

from __future__ import annotations

import pytest
import torch
from torch.utils.benchmark import Measurement, Timer

from nas_distill.errors import SpaceError
from nas_distill.models.costs.latency import measure_latency
from nas_distill.records import StudentSpec
from tests.helpers import TINY_SPEC


def test_the_latency_is_the_median_of_the_measured_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixed block times replace the clock; the network itself runs once."""
    images: list[tuple[int, ...]] = []

    def fixed_times(timer: Timer, *_: object, **__: object) -> Measurement:
        namespace = timer._globals
        images.append(tuple(namespace["image"].shape))
        assert namespace["network"](namespace["image"]).shape == (1, 10)
        assert not namespace["network"].training
        return Measurement(number_per_run=2, raw_times=[0.002, 0.004, 0.006, 0.008, 0.020], task_spec=timer._task_spec)

    monkeypatch.setattr(Timer, "blocked_autorange", fixed_times)
    found = measure_latency(TINY_SPEC, num_classes=10, channels=1, image_size=32)
    assert images == [(1, 1, 32, 32)]
    assert (found.median_ms, found.iqr_ms) == pytest.approx((3.0, 2.0))


def test_a_real_measurement_is_positive() -> None:
    found = measure_latency(TINY_SPEC, num_classes=10, channels=1, image_size=8, min_run_time_s=0.01)
    assert found.median_ms > 0.0
    assert found.iqr_ms >= 0.0


def test_it_does_not_change_the_random_state() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_latency(TINY_SPEC, num_classes=10, channels=1, image_size=8, min_run_time_s=0.01)
    assert torch.equal(torch.rand(1), expected)


def test_a_candidate_that_cannot_be_built_is_an_error() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (1, 1)})
    with pytest.raises(SpaceError) as caught:
        measure_latency(spec, num_classes=10, channels=1, image_size=8)
    assert caught.value.code == "models.candidate_not_buildable"
