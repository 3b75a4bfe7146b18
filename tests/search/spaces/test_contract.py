"""What every shipped space promises: its candidates build, stay within the stated sizes, train, load and calibrate."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.student import build_student
from nas_distill.models.weights import save_weights
from nas_distill.records import SpaceInfo, StudentSpec
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import Space, list_spaces, load_space
from nas_distill.train.calibration.classifier import multiply_logits
from tests.helpers import make_space_context

SIZES = (32, 96, 224)
CHANNELS = (1, 2, 3, 4)
CLASSES = 10
TEMPERATURE = 0.05
SLACK = 1.02
"""The stated numbers of parameters are rounded, and grow a little with image size and channels."""

LEAST_SPREAD = {"auto": 0.15, "mixed": 0.25, "teacher": 0.15}
"""Share of the stated range, in powers of ten, that the middle 80 % of the candidates cover; 0.35 for other spaces.

The stated range of `auto` and `teacher` holds for teachers of all sizes.
"""


def sizes_of(info: SpaceInfo) -> list[int]:
    fitting = [size for size in SIZES if info.min_image_size <= size <= info.max_image_size]
    return fitting or [info.min_image_size]


def info_of(space: Space) -> SpaceInfo:
    assert space.info is not None, f"the module of {space.name} has no INFO"
    return space.info


def check_costs(space: Space, image_size: int, specs: Sequence[StudentSpec], channels: Sequence[int]) -> list[int]:
    """Build each candidate without weights, and return their numbers of parameters."""
    info, found = info_of(space), []
    for spec, count in zip(specs, itertools.cycle(channels), strict=False):
        assert spec.family in info.families, spec
        cost = measure_cost(spec, num_classes=CLASSES, channels=count, image_size=image_size)
        assert info.min_params / SLACK <= cost.num_params <= info.max_params * SLACK, (spec, cost.num_params)
        assert cost.macs > 0
        found.append(cost.num_params)
    return found


def train_save_load_and_calibrate(spec: StudentSpec, folder: Path, *, channels: int, image_size: int) -> None:
    torch.manual_seed(0)
    build = partial(build_student, spec, num_classes=CLASSES, channels=channels, image_size=image_size)
    student = build()
    images = torch.rand(4, channels, image_size, image_size)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.01)
    functional.cross_entropy(student.train()(images), torch.arange(4)).backward()  # type: ignore[no-untyped-call]
    assert all(one.grad is not None for one in student.parameters() if one.requires_grad), spec
    optimiser.step()
    path = folder / "weights.safetensors"
    save_weights(student, path)
    again = build()
    again.load_state_dict(safetensors.torch.load_file(path))
    with torch.no_grad():
        logits = student.eval()(images)
        assert torch.equal(logits, again.eval()(images)), spec
        assert multiply_logits(student, 1 / TEMPERATURE, images[:2]), spec
        exact = logits / TEMPERATURE
        assert (student(images) - exact).abs().max() <= 1e-5 * exact.abs().max(), spec


@pytest.mark.parametrize("name", list_spaces())
def test_candidates_build_within_the_stated_sizes_train_load_and_calibrate(name: str, tmp_path: Path) -> None:
    space = load_space(name)
    assert space.doc
    smallest: tuple[int, StudentSpec] | None = None
    sizes = sizes_of(info_of(space))
    for number, size in enumerate(sizes):
        count = 2 if size == sizes[0] else 1
        specs = sample_space(space, count, number, make_space_context(channels=3, image_size=size))
        params = check_costs(space, size, specs, CHANNELS[number:])
        if size == sizes[0]:
            smallest = min(zip(params, specs, strict=True), key=lambda one: one[0])
    assert smallest is not None
    train_save_load_and_calibrate(smallest[1], tmp_path, channels=1, image_size=sizes[0])


@pytest.mark.parametrize("name", list_spaces())
def test_parameters_have_one_range_per_search(name: str) -> None:
    # Optuna refuses another range of the same name, so that repeated sampling in one study finds it.
    space = load_space(name)
    context = make_space_context(channels=3, image_size=sizes_of(info_of(space))[0])
    specs = sample_space(space, 60, 0, context)
    assert len({spec.spec_id for spec in specs}) > 15


@pytest.mark.slow
@pytest.mark.parametrize("name", list_spaces())
def test_many_candidates_spread_over_the_stated_sizes(name: str, tmp_path: Path) -> None:
    space = load_space(name)
    info = info_of(space)
    sizes = sizes_of(info)
    params: list[int] = []
    for number, size in enumerate(sizes):
        specs = sample_space(space, 200 // len(sizes), number, make_space_context(channels=3, image_size=size))
        params += check_costs(space, size, specs, CHANNELS)
    low, high = np.log10(np.quantile(params, (0.1, 0.9)))
    assert (high - low) / np.log10(info.max_params / info.min_params) >= LEAST_SPREAD.get(name, 0.35)
    for spec in sample_space(space, 5, 9, make_space_context(channels=3, image_size=sizes[0])):
        train_save_load_and_calibrate(spec, tmp_path, channels=3, image_size=sizes[0])
