"""Peak memory: the same on the meta device as for real tensors, and equal to sums by hand."""

from __future__ import annotations

import torch
from torch import nn

from nas_distill.models.costs.cost import measure_cost, measure_module_cost
from nas_distill.models.costs.memory import ActivationCounter
from nas_distill.records import StudentSpec

_FLOAT = 4


def test_only_tensors_that_exist_at_the_same_time_count() -> None:
    with ActivationCounter() as counter:
        first = torch.zeros(100)
        second = first + 1  # both exist
        del first
        view = second.reshape(10, 10)  # no memory of its own
        view.add_(1)  # in place
        third = view + 1  # second and third exist
    assert third.shape == (10, 10)
    assert counter.peak_bytes == 200 * _FLOAT


def test_the_peak_of_two_layers_is_their_parameters_and_the_largest_pair_of_activations() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))
    cost = measure_module_cost(network, channels=1, image_size=8)
    parameters = sum(one.numel() for one in network.parameters())
    # The output of the convolution and that of ReLU exist together; the image exists all the time.
    assert cost.peak_memory_bytes == (parameters + 2 * 4 * 64 + 64) * _FLOAT


def test_a_candidate_on_the_meta_device_needs_as_much_as_with_weights() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 8), "depths": (1, 1)})
    from nas_distill.models.student import build_student

    network = build_student(spec, num_classes=10, channels=1, image_size=8)
    counted = measure_cost(spec, num_classes=10, channels=1, image_size=8)
    assert counted == measure_module_cost(network, channels=1, image_size=8)


def test_smaller_numbers_take_less_space() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 10))
    cost = measure_module_cost(network, channels=1, image_size=8)
    convolution, norm, linear = 36, 4 * 4, 4 * 36 * 10
    floats = convolution + norm + linear + 10
    counter = 8  # an int64 of the norm
    assert cost.size_bytes == floats * _FLOAT + counter
    assert cost.size_fp16_bytes == floats * 2 + counter
    assert cost.size_int8_bytes == convolution + 4 * _FLOAT + linear + 10 * _FLOAT + (norm + 10) * _FLOAT + counter
