"""Networks that exporters get wrong: the other exporter is tried, and a wrong file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_distill.errors import ExportError
from nas_distill.export.check import Checker
from nas_distill.export.writer import FormatWriter
from nas_distill.inference.classifier import network_classifier
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.student_interface import StudentInterface
from tests.helpers import Heard, SmallRun

INTERFACE = StudentInterface(
    architecture="small_resnet",
    class_names=tuple(map(str, range(10))),
    channels=1,
    image_size=8,
    normalisation=Normalisation(mean=(0.5,), std=(0.25,)),
)


class Linear(nn.Module):
    """A linear classifier with another step before it."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(64, 10)
        self.step = step

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.step(images).flatten(1))
        return found


def always_true(images: Tensor) -> Tensor:
    """Branch on the pixels, which `torch.export` cannot follow; the other branch is never taken."""
    return images if bool(images.abs().sum() >= 0) else images.square()


def by_brightness(images: Tensor) -> Tensor:
    """Take a branch that the example does not show."""
    return images if bool(images.mean() >= 0.4) else -images


def fixed_batch(images: Tensor) -> Tensor:
    """Use the number of images as a constant, which freezes it in a trace."""
    return images.reshape(int(images.shape[0]), 64)[: len(images.tolist())]


@pytest.fixture
def make_writer(small_run: SmallRun, tmp_path: Path) -> Callable[[nn.Module, Heard], FormatWriter]:
    def make(network: nn.Module, heard: Heard) -> FormatWriter:
        student = network_classifier(network, INTERFACE)
        checker = Checker(student, small_run.validation)
        return FormatWriter(student, checker, small_run.train, folder=tmp_path, progress=heard)

    return make


def test_the_other_exporter_is_used_where_one_fails(make_writer: Callable[[nn.Module, Heard], FormatWriter]) -> None:
    heard = Heard()
    writer = make_writer(Linear(always_true), heard)
    written = writer.write("onnx")
    assert written.exporter == "torchscript"
    assert written.comparison.largest_difference < 1e-4
    assert len(heard.texts("onnx")) == 1
    assert make_writer(Linear(lambda images: images), Heard()).write("onnx").exporter == "dynamo"


def test_a_file_that_computes_something_else_is_refused(
    make_writer: Callable[[nn.Module, Heard], FormatWriter],
) -> None:
    for step in (by_brightness, fixed_batch):
        heard = Heard()
        writer = make_writer(Linear(step), heard)
        with pytest.raises(ExportError) as caught:
            writer.write("onnx")
        assert (caught.value.code, caught.value.field) == ("export.not_equal", "onnx")
        assert len(heard.texts("onnx")) == 2
        assert "\n" not in str(caught.value)
        with pytest.raises(ExportError) as caught:
            writer.write("torch-export")
        assert (caught.value.code, caught.value.field) == ("export.not_equal", "torch-export")


def test_the_check_uses_all_images_and_rejects_logits_that_are_not_finite(small_run: SmallRun) -> None:
    student = network_classifier(Linear(lambda images: images), INTERFACE)
    checker = Checker(student, small_run.validation)
    assert checker.scores.images == small_run.validation.num_images
    same = checker.compare(student)
    assert (same.changed_predictions, same.images_one_by_one) == (0, small_run.validation.num_images)
    assert checker.accepts(same)

    def spoilt(images: Tensor) -> Tensor:
        return images if len(images) > 1 else images * float("nan")

    found = checker.compare(network_classifier(Linear(spoilt), INTERFACE))
    assert found.largest_difference == float("inf")
    assert found.scores == checker.scores
    assert not checker.accepts(found)
