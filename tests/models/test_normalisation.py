"""Which normalisation a network's input gets."""

from __future__ import annotations

import pytest
import timm
from torch import nn

from nas_distill.errors import TeacherError
from nas_distill.models.normalisation import network_normalisation, student_normalisation
from nas_distill.records import Normalisation, StudentSpec
from nas_distill.records.student import FROM_TEACHER, PRETRAINED, RANDOM

TEACHER = Normalisation(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


def spec(start: str | None) -> StudentSpec:
    return StudentSpec(architecture="vit_tiny_patch16_224", initial_weights=start)


def test_students_are_normalised_like_the_teacher_they_are_cut_from() -> None:
    for start in (RANDOM, FROM_TEACHER, None):
        assert student_normalisation(spec(start), teacher=TEACHER, channels=3) == TEACHER


def test_grey_images_get_the_average_over_the_channels() -> None:
    found = student_normalisation(spec(RANDOM), teacher=TEACHER, channels=1)
    assert [*found.mean, *found.std] == pytest.approx([0.2, 0.5])


def test_pretrained_students_are_normalised_as_their_weights_were_trained() -> None:
    found = student_normalisation(spec(PRETRAINED), teacher=TEACHER, channels=3)
    assert found == Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_the_student_of_a_missing_run_is_an_error() -> None:
    with pytest.raises(TeacherError) as caught:
        student_normalisation(spec("run:nowhere/3"), teacher=TEACHER, channels=3)
    assert caught.value.code == "models.run_unreadable"


@pytest.mark.parametrize("changes", [{"mean": (128.0,) * 3}, {"std": (0.0,) * 3}, {"std": (0.5,)}, {"mean": None}])
def test_an_unusable_normalisation_is_an_error(changes: dict[str, object]) -> None:
    network: nn.Module = timm.create_model("test_resnet")
    network.pretrained_cfg = {**network.pretrained_cfg, **changes}  # type: ignore[assignment,dict-item]
    with pytest.raises(TeacherError) as caught:
        network_normalisation(network, 3)
    assert (caught.value.code, caught.value.field) == ("models.normalisation_unknown", "teacher.model")
