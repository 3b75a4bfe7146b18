"""The spaces that scale the teacher's own architecture."""

from __future__ import annotations

import pytest
import timm
import torch

from nas_distill.config import SpaceConfig, TeacherConfig
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.weight_selection import read_layout, selection_misfit, student_layout
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.samplers.space_sampling import list_parameters, sample_space
from nas_distill.search.setup.space_context import plan_space
from nas_distill.search.spaces.loading import load_space

SHAPE = NetworkShape(num_classes=10, channels=3, image_size=64)
SPACE = load_space("teacher")


@pytest.mark.parametrize(
    "model",
    [
        "resnet18", "resnext50_32x4d", "resnetv2_50", "regnety_002", "convnext_atto", "vit_tiny_patch16_224",
        "efficientnet_b0", "mobilenetv3_small_100", "small_swin", "small_mixer",
    ],
)  # fmt: skip
def test_students_are_smaller_than_the_teacher_and_can_be_cut_from_it(model: str) -> None:
    arguments = {"small_swin": {"img_size": 64}, "small_mixer": {"img_size": 64, "embed_dim": 64, "num_blocks": 4}}
    settings = TeacherConfig(model=model, arguments=arguments.get(model, {}), image_size=64)
    context = plan_space(settings, SpaceConfig(), SHAPE).context
    sizes = {"num_classes": 10, "img_size": 64} if model.startswith(("vit", "small")) else {"num_classes": 10}
    with torch.device("meta"):
        layout = read_layout(timm.create_model(model, **{**arguments.get(model, {}), **sizes}))
    specs = sample_space(SPACE, 4, 0, context)
    assert len({spec.spec_id for spec in specs}) > 2
    for spec in specs:
        cost = measure_cost(spec, num_classes=10, channels=3, image_size=64)
        assert cost.num_params <= context.teacher.num_params
        assert selection_misfit(student_layout(spec, num_classes=10, channels=3, image_size=64), layout) is None


def test_limits_narrow_the_range_of_widths() -> None:
    def widest(**limits: str) -> float:
        context = plan_space(TeacherConfig(model="resnet18"), SpaceConfig.model_validate(limits), SHAPE).context
        return float(list_parameters(SPACE, context, draws=1)["teacher_width"].high)  # type: ignore[attr-defined]

    assert widest() == 1.0
    assert widest(max_params="4%") == pytest.approx(0.4, abs=0.01)
    assert widest(max_macs="1%") == pytest.approx(0.2, abs=0.01)
    assert widest(max_params="0.01%") == pytest.approx(0.2, abs=0.01)
