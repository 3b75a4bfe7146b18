"""Loading a teacher: the network is bit-identical, and unsuitable models are errors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from nas_distill.config import LOCAL_DIR
from nas_distill.errors import TeacherError
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher import Teacher
from tests.models.networks import CLASSES, SMALL, images, load, make_folder, make_network

NOT_LOADABLE = ("models.teacher_not_loadable", "teacher.model")
MISMATCH = ("models.weights_mismatch", "teacher.checkpoint")


class Touched:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return (_touch, (str(self._path), "touched"))


def _touch(path: str, text: str) -> Tensor:
    Path(path).write_text(text)
    return torch.zeros(1)


def rejection(model: str, **changes: Any) -> tuple[str, str | None]:
    """Return code and field of the error, whose message is one line."""
    with pytest.raises(TeacherError) as caught:
        load(model, **changes)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.code, caught.value.field


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_folder(tmp_path / "teacher", make_network())
    return tmp_path / "teacher"


@pytest.fixture
def teacher(folder: Path) -> Teacher:
    return load(f"{LOCAL_DIR}{folder}")


def test_a_saved_and_loaded_teacher_is_bit_identical(tmp_path: Path) -> None:
    network = make_network()
    teacher = load(make_folder(tmp_path / "t", network))
    expected = network(Preprocess(mean=(0.3,), std=(0.2,))(images())).detach()
    assert torch.equal(teacher(images()), expected)
    assert teacher.architecture == "small_resnet"
    assert teacher.class_names == CLASSES
    assert (teacher.num_classes, teacher.channels, teacher.image_size) == (3, 1, 8)
    assert teacher.preprocess == Preprocess(mean=(0.3,), std=(0.2,), image_size=8)
    again = make_folder(
        tmp_path / "again", teacher.network, arguments=teacher.arguments, mean=teacher.preprocess.mean,
        std=teacher.preprocess.std,
    )  # fmt: skip
    copy = load(again)
    assert torch.equal(copy(images()), expected)
    assert copy.weights_sha256() == teacher.weights_sha256()


@pytest.mark.parametrize(
    ("architecture", "arguments", "channels"),
    [("test_resnet", {}, 3), ("test_vit", {"img_size": 32}, 1), ("test_convnext", {}, 3)],
)
def test_teachers_of_other_families_are_bit_identical_too(
    tmp_path: Path, architecture: str, arguments: dict[str, Any], channels: int
) -> None:
    network = make_network(architecture, arguments, channels=channels)
    statistics = ((0.5,) * channels, (0.2,) * channels)
    model = make_folder(
        tmp_path / "t", network, arguments=arguments, channels=channels, image_size=32,
        mean=statistics[0], std=statistics[1],
    )  # fmt: skip
    teacher = load(model, channels=channels)
    batch = images(channels=channels, size=32)
    assert torch.equal(teacher(batch), network(Preprocess(mean=statistics[0], std=statistics[1])(batch)))
    assert timm.create_model(model, pretrained=True).num_classes == 3


def test_channels_last_weights_can_be_saved(tmp_path: Path) -> None:
    network = make_network().to(memory_format=torch.channels_last)
    teacher = load(make_folder(tmp_path / "t", network))
    torch.testing.assert_close(teacher(images()), network(Preprocess(mean=(0.3,), std=(0.2,))(images())))


def test_images_are_resized_to_the_size_of_the_teacher(teacher: Teacher, folder: Path) -> None:
    assert teacher(images(size=5)).shape == (4, 3)
    larger = load(f"{LOCAL_DIR}{folder}", image_size=16)
    assert larger.image_size == larger.preprocess.image_size == 16
    assert larger(images()).shape == (4, 3)


def test_a_teacher_with_three_channels_accepts_grey_images(tmp_path: Path) -> None:
    model = make_folder(tmp_path / "t", make_network(channels=3), channels=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    teacher = load(model, channels=1)
    assert teacher.channels == 3
    assert torch.equal(teacher(images()), teacher(images().repeat(1, 3, 1, 1)))


def test_a_grey_teacher_rejects_colour_images(folder: Path) -> None:
    assert rejection(f"{LOCAL_DIR}{folder}", channels=3) == ("models.channels_mismatch", "teacher.model")


def test_another_number_of_classes_is_an_error_that_lists_both(folder: Path) -> None:
    with pytest.raises(TeacherError) as caught:
        load(f"{LOCAL_DIR}{folder}", class_names=("ant", "bee"))
    assert (caught.value.code, caught.value.field) == ("models.classes_mismatch", "teacher.model")
    assert all(classes in str(caught.value) for classes in ("(ant, bee, cat)", "(ant, bee)"))


@pytest.mark.parametrize("names", [("ant", "cat", "bee"), ("ant", "bee", "cow")])
def test_other_class_names_or_another_order_are_an_error_that_lists_both(folder: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(TeacherError) as caught:
        load(f"{LOCAL_DIR}{folder}", class_names=names)
    assert (caught.value.code, caught.value.field) == ("models.classes_mismatch", "teacher.model")
    assert all(classes in str(caught.value) for classes in ("(ant, bee, cat)", f"({', '.join(names)})"))


def test_a_folder_excludes_a_checkpoint_and_arguments(folder: Path) -> None:
    for extra in ({"checkpoint": "w.safetensors"}, {"arguments": {"depths": (1, 1)}}):
        assert rejection(f"{LOCAL_DIR}{folder}", **extra) == ("models.two_weight_sources", "teacher.model")


def test_a_folder_without_a_configuration_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert rejection(f"{LOCAL_DIR}{path}") == NOT_LOADABLE


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"architecture": "no_such_model"}', "\x00"])
def test_a_damaged_configuration_is_an_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert rejection(f"{LOCAL_DIR}{folder}") == NOT_LOADABLE


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_damaged_weights_are_an_error(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert rejection(f"{LOCAL_DIR}{folder}") == NOT_LOADABLE


def test_weights_of_another_network_are_an_error(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["widths"] = [8, 8]
    (folder / "config.json").write_text(json.dumps(config))
    assert rejection(f"{LOCAL_DIR}{folder}") == NOT_LOADABLE


def to_pickle(folder: Path) -> None:
    torch.save(safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_a_pickled_folder_is_opened_only_when_trusted(folder: Path) -> None:
    expected = load(f"{LOCAL_DIR}{folder}")(images())
    to_pickle(folder)
    assert rejection(f"{LOCAL_DIR}{folder}") == ("models.pickle_not_trusted", "teacher.model")
    assert torch.equal(load(f"{LOCAL_DIR}{folder}", trust_pickle=True)(images()), expected)


def test_a_pickle_beside_the_weights_is_not_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Touched(tmp_path / "evidence")}))
    load(f"{LOCAL_DIR}{folder}")
    assert not (tmp_path / "evidence").exists()


def checkpoint_of(tmp_path: Path, network: nn.Module) -> str:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    ("architecture", "arguments", "channels", "size"),
    [
        ("small_resnet", SMALL, 1, 32),
        ("small_resnet", SMALL, 3, 32),
        ("test_resnet", {}, 1, 160),
        ("test_vit", {}, 1, 160),
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}, 1, 32),
    ],
)
def test_a_timm_name_with_a_checkpoint(
    tmp_path: Path, architecture: str, arguments: dict[str, Any], channels: int, size: int
) -> None:
    network = make_network(architecture, arguments, channels=channels)
    teacher = load(architecture, checkpoint=checkpoint_of(tmp_path, network), arguments=arguments)
    assert (teacher.channels, teacher.num_classes, teacher.image_size) == (channels, 3, size)
    assert teacher.class_names is None
    assert teacher.arguments == arguments
    batch = images(channels=1, size=8)
    assert torch.equal(teacher(batch), network(teacher.preprocess(batch)))


def test_a_checkpoint_with_other_classes_is_an_error(tmp_path: Path) -> None:
    path = checkpoint_of(tmp_path, make_network(classes=4))
    assert rejection("small_resnet", checkpoint=path, arguments=SMALL) == ("models.classes_mismatch", "teacher.model")


def test_an_image_size_that_the_network_rejects_is_an_error(tmp_path: Path) -> None:
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    path = checkpoint_of(tmp_path, make_network("vit_tiny_patch16_224", arguments))
    found = rejection("vit_tiny_patch16_224", checkpoint=path, arguments=arguments, image_size=48)
    assert found == ("models.image_size_rejected", "teacher.image_size")


def test_a_pickled_checkpoint_is_opened_only_when_trusted(tmp_path: Path) -> None:
    network = make_network()
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": network.state_dict(), "extra": Touched(tmp_path / "evidence")}, path)
    found = rejection("small_resnet", checkpoint=str(path), arguments=SMALL)
    assert found == ("models.pickle_not_trusted", "teacher.checkpoint")
    assert not (tmp_path / "evidence").exists()
    teacher = load("small_resnet", checkpoint=str(path), arguments=SMALL, trust_pickle=True)
    assert (tmp_path / "evidence").exists()
    assert torch.equal(teacher(images()), network(teacher.preprocess(images())))


def test_a_pickle_under_another_name_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Touched(tmp_path / "evidence")))
    assert rejection("small_resnet", checkpoint=str(path), arguments=SMALL) == MISMATCH
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize(
    ("model", "changes", "code", "field"),
    [
        ("small_resnt", {}, "models.architecture_unknown", "teacher.model"),
        ("small_resnet", {}, "models.checkpoint_needed", "teacher.model"),
        ("small_resnet", {"checkpoint": "missing.safetensors"}, "models.checkpoint_missing", "teacher.checkpoint"),
    ],
)
def test_a_missing_model_or_checkpoint_is_an_error(model: str, changes: dict[str, Any], code: str, field: str) -> None:
    assert rejection(model, **changes) == (code, field)


def test_a_checkpoint_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    path = checkpoint_of(tmp_path, make_network())
    assert rejection("small_resnet", checkpoint=path) == MISMATCH
    assert rejection("test_resnet", checkpoint=path) == MISMATCH
    Path(path).write_bytes(Path(path).read_bytes()[:50])
    assert rejection("small_resnet", checkpoint=path, arguments=SMALL) == MISMATCH
