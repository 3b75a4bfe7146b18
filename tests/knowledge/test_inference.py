"""Outputs of `TeacherInference`, with and without embeddings."""

from __future__ import annotations

import pytest
import torch

from nas_distill.errors import TeacherError
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.model_outputs import OutputRequest
from tests.helpers import CPU
from tests.models.networks import images, make_network
from tests.models.test_teacher_network import Odd, make_teacher


def test_outputs_equal_the_outputs_of_the_teacher() -> None:
    teacher = make_teacher(make_network(), "small_resnet")
    inference = TeacherInference(teacher, CPU, embeddings=True)
    outputs, expected = inference.outputs(images()), teacher.outputs(images(), OutputRequest(embedding=True))
    assert outputs.embedding is not None
    assert expected.embedding is not None
    assert torch.equal(outputs.logits, expected.logits)
    assert torch.equal(outputs.embedding, expected.embedding)
    assert inference.embedding_size(images()) == outputs.embedding.shape[1] == 6


def test_without_embeddings_only_logits_are_computed() -> None:
    teacher = make_teacher(Odd("no interface"), "odd")
    inference = TeacherInference(teacher, CPU, embeddings=False)
    assert inference.embedding_size(images()) == 0
    outputs = inference.outputs(images())
    assert outputs.embedding is None
    assert torch.equal(outputs.logits, teacher(images()))


def test_a_teacher_without_embeddings_is_rejected_on_the_first_batch() -> None:
    inference = TeacherInference(make_teacher(Odd("no interface"), "odd"), CPU, embeddings=True)
    with pytest.raises(TeacherError) as caught:
        inference.check_deterministic(images())
    assert "odd" in str(caught.value)
