"""SimKD's student: its parts, which of them train, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from nas_distill.errors import SpaceError
from nas_distill.model_outputs import OutputRequest
from nas_distill.models.costs.cost import measure_cost, measure_module_cost
from nas_distill.models.features import check_outputs, network_outputs
from nas_distill.models.split_model import copy_body
from nas_distill.models.student import build_student
from nas_distill.models.teacher import Teacher
from nas_distill.models.teacher_head import Projector, StudentWithTeacherHead, TeacherHead
from nas_distill.records import StudentSpec
from tests.models import test_student
from tests.models.networks import make_network
from tests.models.test_features import SMALL, SMALL_SWIN, SMALL_VIT
from tests.models.test_teacher_network import make_teacher

SHAPE: dict[str, Any] = {"num_classes": 3, "channels": 1, "image_size": 32}
STUDENTS = [SMALL, ("test_efficientnet", {}), ("mobilenetv3_small_050", {}), SMALL_VIT, SMALL_SWIN]
POOLED = OutputRequest(depths=(1.0,))

students = pytest.mark.parametrize(("architecture", "arguments"), STUDENTS, ids=[name for name, _ in STUDENTS])


def teacher_of(architecture: str = "small_resnet", arguments: dict[str, Any] | None = None, size: int = 32) -> Teacher:
    given = {"widths": (8, 12), "depths": (1, 1)} if arguments is None else arguments
    return make_teacher(make_network(architecture, given), architecture, size=size)


@pytest.fixture(scope="module")
def head() -> TeacherHead:
    return teacher_of().head()


def build(
    head: TeacherHead, architecture: str = SMALL[0], arguments: dict[str, Any] = SMALL[1]
) -> StudentWithTeacherHead:
    torch.manual_seed(0)
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    student = build_student(spec, **SHAPE, teacher_head=head)
    assert isinstance(student, StudentWithTeacherHead)
    return student


def batch(count: int = 4, size: int = 32) -> Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


@students
def test_the_teachers_classifier_is_applied_to_the_projected_map(
    head: TeacherHead, architecture: str, arguments: dict[str, Any]
) -> None:
    student = build(head, architecture, arguments).eval()
    shapes = check_outputs(student, batch(), OutputRequest(embedding=True, depths=(0.5, 1.0)))
    logits, embedding, (half, projected) = network_outputs(
        student, batch(), OutputRequest(embedding=True, depths=(0.5, 1.0))
    )
    assert embedding is not None
    assert shapes.embedding == (12,)
    assert torch.equal(projected, student.forward_features(batch()))
    assert projected.shape[:2] == (4, 12)
    assert max(projected.shape[2:]) <= 16
    assert torch.equal(logits, student(batch()))
    torch.testing.assert_close(logits, head(projected))
    torch.testing.assert_close(embedding, projected.mean((2, 3)))
    assert torch.equal(half, network_outputs(student.backbone, batch(), OutputRequest(depths=(0.5, 1.0))).maps[0])


@pytest.mark.parametrize(("size", "expected"), [(8, 4), (16, 8), (32, 16), (64, 16)])
def test_the_larger_map_is_pooled_to_the_smaller(head: TeacherHead, size: int, expected: int) -> None:
    student = build(head).eval()
    (source,) = network_outputs(student.backbone, batch(size=size), POOLED).maps
    projected = student.forward_features(batch(size=size))
    assert projected.shape == (4, 12, expected, expected)
    pooled = source.reshape(4, 6, expected, size // 2 // expected, expected, -1).mean((3, 5))
    torch.testing.assert_close(projected, student.projector(pooled))


def test_the_projector_is_that_of_the_paper() -> None:
    projector = Projector(5, 12)
    assert [type(layer).__name__ for layer in projector] == ["Conv2d", "BatchNorm2d", "ReLU"] * 3
    convolutions = [layer for layer in projector if isinstance(layer, nn.Conv2d)]
    assert [tuple(layer.weight.shape) for layer in convolutions] == [(6, 5, 1, 1), (6, 6, 3, 3), (12, 6, 1, 1)]
    assert projector(torch.rand(2, 5, 3, 4)).shape == (2, 12, 3, 4)
    assert Projector(5, 1)(torch.rand(2, 5, 3, 3)).shape == (2, 1, 3, 3)


@students
def test_backbone_and_projector_train_and_the_classifier_does_not(
    head: TeacherHead, architecture: str, arguments: dict[str, Any]
) -> None:
    student = build(head, architecture, arguments).requires_grad_(True).train()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, weight_decay=0.1)
    (projected,) = network_outputs(student, batch(), POOLED).maps
    mse_loss(projected, torch.rand(projected.shape)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    after = student.state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"backbone", "projector"}
    assert all(parameter.grad is None for parameter in student.classifier.parameters())


def test_training_reduces_the_distance_to_the_teachers_map(head: TeacherHead) -> None:
    student = build(head).train()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    target = 3 * torch.rand(4, 12, 1, 1).expand(-1, -1, 16, 16)
    losses = []
    for _ in range(30):
        loss = mse_loss(student.forward_features(batch()), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_a_gradient_of_the_logits_goes_through_the_classifier(head: TeacherHead) -> None:
    student = build(head).train()
    student(batch()).square().sum().backward()
    found = {name.split(".")[0] for name, p in student.named_parameters() if p.grad is not None}
    assert found == {"backbone", "projector"}


def test_only_its_own_norms_update_their_statistics() -> None:
    teacher = teacher_of("mobilenetv4_conv_small_035", {})
    student = build(teacher.head()).train()
    assert student.projector.training
    norms = [module for module in student.classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    before = [norm.num_batches_tracked.clone() for norm in norms]  # type: ignore[union-attr]
    student(batch())
    assert not student.classifier.training
    assert [norm.num_batches_tracked for norm in norms] == before


@students
def test_the_cost_includes_projector_and_classifier(
    head: TeacherHead, architecture: str, arguments: dict[str, Any]
) -> None:
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    student = build(head, architecture, arguments)
    real = measure_module_cost(student, channels=1, image_size=32)
    assert (
        measure_cost(spec, **SHAPE, teacher_head=head, request=OutputRequest(embedding=True, depths=(0.5, 1.0))) == real
    )
    body = copy_body(build_student(spec, **SHAPE), batch(1))
    parts = (body, student.projector, head)
    assert real.num_params == sum(parameter.numel() for part in parts for parameter in part.parameters())
    # The student's own classifier is gone.
    assert not any(isinstance(module, nn.Linear) and module.out_features == 3 for module in student.backbone.modules())


def test_macs_are_counted_for_the_pooled_map(head: TeacherHead) -> None:
    spec = StudentSpec(architecture=SMALL[0], arguments=SMALL[1])
    plain, through = measure_cost(spec, **SHAPE), measure_cost(spec, **SHAPE, teacher_head=head)
    projector = (6 * 6 + 6 * 6 * 9 + 6 * 12) * 16 * 16
    assert through.macs - plain.macs == projector + 12 * 3 - 6 * 3


@students
def test_output_shapes_on_the_meta_device_are_the_real_ones(
    head: TeacherHead, architecture: str, arguments: dict[str, Any]
) -> None:
    request = OutputRequest(embedding=True, depths=(0.5, 1.0))
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    student = build_student(spec, **SHAPE, teacher_head=head, device="meta")
    assert {tensor.device.type for tensor in student.state_dict().values()} == {"meta"}
    assert {tensor.device.type for tensor in head.state_dict().values()} == {"cpu"}
    on_meta = check_outputs(student, batch().to("meta"), request)
    assert on_meta == check_outputs(build(head, architecture, arguments), batch(), request)


def test_a_saved_student_includes_the_head_of_its_teacher(head: TeacherHead, tmp_path: Path) -> None:
    student = build(head).train()
    student(batch())
    safetensors.torch.save_file(student.state_dict(), tmp_path / "student.safetensors")
    state = safetensors.torch.load_file(tmp_path / "student.safetensors")
    assert {name.split(".")[0] for name in state} == {"backbone", "projector", "classifier"}
    torch.manual_seed(1)
    other_head = teacher_of().head()
    for parameter in other_head.parameters():
        parameter.data.zero_()
    again = build(other_head)
    again.load_state_dict(state)
    assert torch.equal(again.eval()(batch()), student.eval()(batch()))


def test_with_the_same_seed_the_backbone_is_that_of_a_plain_student(head: TeacherHead) -> None:
    torch.manual_seed(0)
    plain = build_student(StudentSpec(architecture=SMALL[0], arguments=SMALL[1]), **SHAPE).state_dict()
    with_head = build(head).backbone.state_dict()
    assert set(with_head) == {name for name in plain if not name.startswith("fc.")}
    assert all(torch.equal(tensor, plain[name]) for name, tensor in with_head.items())


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [SMALL_SWIN, ("test_vit_relpos", {"img_size": 32}), ("mobilenetv3_small_050", {}), ("test_convnext", {})],
)
def test_teachers_of_other_kinds(architecture: str, arguments: dict[str, Any]) -> None:
    teacher = teacher_of(architecture, arguments)
    student = build(teacher.head()).train()
    assert student(batch()).shape == (4, 3)
    outputs = teacher.outputs((255 * batch()).to(torch.uint8), POOLED)
    torch.testing.assert_close(student.forward_head(outputs.maps[0]), outputs.logits)


def test_a_student_without_a_feature_map_is_an_error(head: TeacherHead) -> None:
    with pytest.raises(SpaceError) as caught:
        build_student(StudentSpec(architecture=test_student.mapless.__name__), **SHAPE, teacher_head=head)
    assert (caught.value.code, caught.value.field) == ("models.output_missing", "candidate mapless()")
