"""What is special of the convolutional spaces: strides, names of parameters, RegNet's stages, cuts from a teacher."""

from __future__ import annotations

import itertools
import math
from typing import Any

import optuna
import pytest
import timm
import torch
from timm.models.regnet import generate_regnet

from nas_distill.model_outputs import OutputRequest
from nas_distill.models.costs.cost import measure_module_cost
from nas_distill.models.features import output_shapes
from nas_distill.models.student import build_student
from nas_distill.models.weight_selection import read_layout, selection_misfit
from nas_distill.records import StudentSpec
from nas_distill.search.spaces.loading import load_space, propose
from tests.helpers import make_space_context

FAMILIES = ("resnet", "resnetv2", "regnet", "repvgg", "mobilenet", "efficientnet", "ghostnet", "efficientvit")


def draw(name: str, image_size: int, number: int, *, seed: int = 0) -> list[tuple[StudentSpec, dict[str, Any]]]:
    """Return random candidates with their parameters."""
    context = make_space_context(image_size=image_size, channels=3)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(number)]
    return [(propose(load_space(name), trial, context), trial.params) for trial in trials]


def total_stride(spec: StudentSpec) -> int:
    if spec.architecture == "small_resnet":
        return int(2 ** (len(spec.arguments["widths"]) - 1))
    return math.prod(spec.arguments.get("strides", (spec.arguments.get("output_stride", 32),)))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_map_suits_the_image_size(name: str) -> None:
    for image_size, sides in ((24, {3, 6}), (48, {6, 12}), (49, {4}), (127, {8}), (128, {4}), (384, {12})):
        for spec, _ in draw(name, image_size, 4):
            assert math.ceil(image_size / total_stride(spec)) in sides, spec


@pytest.mark.parametrize("name", FAMILIES)
def test_the_smallest_images_are_processed(name: str) -> None:
    info = load_space(name).info
    assert info is not None
    ((spec, _),) = draw(name, info.min_image_size, 1)
    network = build_student(spec, num_classes=3, channels=3, image_size=info.min_image_size, device="meta")
    image = torch.zeros(1, 3, info.min_image_size, info.min_image_size, device="meta")
    shapes = output_shapes(network, image, OutputRequest(depths=(1.0,)))
    assert shapes.maps[0][1:] == (info.min_image_size // total_stride(spec),) * 2


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_start_with_the_familys_name_and_candidates_declare_their_family(name: str) -> None:
    info = load_space(name).info
    assert info is not None
    found = set()
    for image_size in (32, 96, 224):
        for spec, parameters in draw(name, image_size, 30):
            assert all(parameter.startswith(f"{name}_") for parameter in parameters)
            found.add(spec.family)
    assert found == set(info.families)


def test_every_regnet_has_four_stages_of_growing_width() -> None:
    context = make_space_context(image_size=32)
    space = load_space("regnet")
    for width, growth, depth in itertools.product(range(8, 49, 8), (1.75, 2.0, 2.25, 2.5), range(8, 21)):
        point = {
            "regnet_kind": "regnetx", "regnet_width": width, "regnet_growth": growth, "regnet_depth": depth,
            "regnet_group": 8,
        }  # fmt: skip
        arguments = propose(space, optuna.trial.FixedTrial(point), context).arguments
        widths, stages, _ = generate_regnet(
            arguments["wa"], arguments["w0"], arguments["wm"], arguments["depth"], arguments["group_size"]
        )
        assert stages == 4
        assert widths[0] == width
        assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("teacher", "block", "stem"),
    [("resnet18", "basic", "plain"), ("resnet18d", "basic", "deep"), ("resnet50", "bottleneck", "plain")],
)
def test_a_student_of_a_timm_resnet_can_start_from_its_weights(teacher: str, block: str, stem: str) -> None:
    point = {
        "resnet_block": block, "resnet_width": 24, "resnet_growth": 1.5, "resnet_stem": stem,
        "resnet_depth_0": 1, "resnet_depth_1": 2, "resnet_depth_2": 2, "resnet_depth_3": 1,
    }  # fmt: skip
    spec = propose(load_space("resnet"), optuna.trial.FixedTrial(point), make_space_context(image_size=96))
    with torch.device("meta"):
        networks = [
            build_student(spec, num_classes=10, channels=3, image_size=96),
            timm.create_model(teacher, num_classes=10),
        ]
    student, theirs = (read_layout(network) for network in networks)
    assert selection_misfit(student, theirs) is None


def test_most_resnets_for_photos_of_64_pixels_cost_less_than_a_narrow_resnet18() -> None:
    with torch.device("meta"):
        teacher = timm.create_model("resnet18", channels=(32, 64, 128, 256), num_classes=10)
    limit = measure_module_cost(teacher, channels=3, image_size=64).macs
    cheaper = 0
    for spec, _ in draw("resnet", 64, 12):
        network = build_student(spec, num_classes=10, channels=3, image_size=64, device="meta")
        cheaper += measure_module_cost(network, channels=3, image_size=64).macs < limit
    assert cheaper >= 8
