"""Nothing changes a teacher: no mode, no gradient, no optimiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher import Teacher
from tests.models.networks import SMALL, images, load, make_folder, make_network


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return load(make_folder(tmp_path / "teacher", make_network()))


def test_it_stays_frozen_and_in_eval_mode(teacher: Teacher) -> None:
    for call in (teacher.train, lambda: teacher.train(True), lambda: nn.Sequential(teacher).train(), teacher.eval):
        call()
        assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_network_in_training_mode_is_frozen_and_put_into_eval_mode() -> None:
    network = make_network().train()
    teacher = Teacher(
        network, architecture="small_resnet", arguments=SMALL, channels=1, image_size=8,
        preprocess=Preprocess(mean=(0.5,), std=(0.5,)),
    )  # fmt: skip
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_forward_pass_changes_nothing_and_builds_no_graph(teacher: Teacher) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    digest = teacher.weights_sha256()
    teacher.train()
    for _ in range(3):
        logits = teacher(images())
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert logits.grad_fn is None
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert any("running_mean" in name for name in before)
    assert teacher.weights_sha256() == digest


def test_weights_that_require_gradients_get_no_graph_either(teacher: Teacher) -> None:
    teacher.network.requires_grad_(True)
    assert not teacher(images()).requires_grad


def test_an_optimiser_cannot_change_it(teacher: Teacher) -> None:
    digest = teacher.weights_sha256()
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    both = nn.ModuleList([teacher, student])
    optimizer = torch.optim.SGD(both.parameters(), lr=1.0, weight_decay=0.1)
    loss = (student(images().float() / 255) - teacher(images())).square().mean()
    loss.backward()
    optimizer.step()
    assert teacher.weights_sha256() == digest


def test_the_digest_depends_on_every_tensor(teacher: Teacher) -> None:
    digests = {teacher.weights_sha256()}
    for tensor in teacher.network.state_dict().values():
        with torch.no_grad():
            tensor.view(-1)[0] += 1
        digests.add(teacher.weights_sha256())
    assert len(digests) == 1 + len(teacher.network.state_dict())
