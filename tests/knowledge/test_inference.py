"""Asking the teacher for what will be stored."""

from __future__ import annotations

import pytest
import torch

from nas_distill.errors import TeacherError
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.model_outputs import OutputRequest
from tests.helpers import CPU
from tests.models.networks import images, make_network
from tests.models.test_teacher_network import Odd, make_teacher


def test_answers_are_the_teacher_s() -> None:
    teacher = make_teacher(make_network(), "small_resnet")
    inference = TeacherInference(teacher, CPU, embeddings=True)
    answers, expected = inference.outputs(images()), teacher.outputs(images(), OutputRequest(embedding=True))
    assert answers.embedding is not None
    assert expected.embedding is not None
    assert torch.equal(answers.logits, expected.logits)
    assert torch.equal(answers.embedding, expected.embedding)
    assert inference.embedding_size(images()) == answers.embedding.shape[1] == 6


def test_without_embeddings_nothing_but_logits_is_asked_for() -> None:
    teacher = make_teacher(Odd("no interface"), "odd")
    inference = TeacherInference(teacher, CPU, embeddings=False)
    assert inference.embedding_size(images()) == 0
    answers = inference.outputs(images())
    assert answers.embedding is None
    assert torch.equal(answers.logits, teacher(images()))


def test_a_teacher_without_embeddings_is_told_when_first_asked() -> None:
    inference = TeacherInference(make_teacher(Odd("no interface"), "odd"), CPU, embeddings=True)
    with pytest.raises(TeacherError, match="odd provides no embedding"):
        inference.check_deterministic(images())
