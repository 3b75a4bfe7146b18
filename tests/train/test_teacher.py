"""Training a teacher: from nothing, and further from weights that are given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, ViewsConfig
from nas_distill.errors import RunError, TeacherError
from nas_distill.models.weights import load_local_dir
from nas_distill.records import Normalisation, Recipe, TeacherRecord
from nas_distill.train.teacher import METRICS, train_teacher
from tests.helpers import SMALL_DATA

ARGUMENTS = {"widths": (8,), "depths": (1,)}
RECIPE = Recipe(losses={}, label_weight=1.0, epochs=2, batch_size=32, learning_rate=1e-2, ema_decay=0.0)
STILL = RECIPE.model_copy(update={"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0})
"""A training that leaves the weights as they are, but for BatchNorm's statistics."""


def train(out: Path, model: str = "small_resnet", **changes: Any) -> TeacherRecord:
    settings: dict[str, Any] = {
        "arguments": ARGUMENTS if model == "small_resnet" else {}, "recipe": RECIPE, "data": SMALL_DATA,
        "views": ViewsConfig(), "seed": 0, "device": torch.device("cpu"), "progress": NullProgress(),
    }  # fmt: skip
    return train_teacher(model, out, **{**settings, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    network, _ = load_local_dir(folder, trust_pickle=False)
    return {name: value.detach() for name, value in network.named_parameters()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TeacherRecord]:
    folder = tmp_path_factory.mktemp("first") / "teacher"
    return folder, train(folder)


def test_a_second_teacher_in_the_same_folder_is_an_error(first: tuple[Path, TeacherRecord]) -> None:
    folder, record = first
    assert record.trained_on_data_id == record.data_id
    with pytest.raises(RunError) as caught:
        train(folder)
    assert (caught.value.code, caught.value.field) == ("train.teacher_exists", str(folder))


def test_a_teacher_can_be_trained_further(first: tuple[Path, TeacherRecord], tmp_path: Path) -> None:
    folder, record = first
    further = train(tmp_path / "t", f"{LOCAL_DIR}{folder}", recipe=STILL)
    assert further.architecture == "small_resnet"
    assert further.cost.num_params == record.cost.num_params
    assert further.trained_on_data_id == further.data_id
    before, after = weights(folder), weights(tmp_path / "t")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(weights(_other(tmp_path))["fc.weight"], before["fc.weight"])


def test_training_further_keeps_the_normalisation_of_the_weights(
    first: tuple[Path, TeacherRecord], tmp_path: Path
) -> None:
    shutil.copytree(first[0], tmp_path / "source")
    _normalise_with(tmp_path / "source", 0.75, 0.5)
    further = train(tmp_path / "t", f"{LOCAL_DIR}{tmp_path / 'source'}", recipe=STILL)
    assert further.normalisation == Normalisation(mean=(0.75,), std=(0.5,))
    config = json.loads((tmp_path / "t" / "config.json").read_text())["pretrained_cfg"]
    assert (config["mean"], config["std"]) == ([0.75], [0.5])
    assert first[1].normalisation not in (further.normalisation, Normalisation(mean=(0.5,), std=(0.25,)))


def _normalise_with(folder: Path, mean: float, std: float) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [mean], "std": [std]}
    (folder / "config.json").write_text(json.dumps(config))


def _other(tmp_path: Path) -> Path:
    train(tmp_path / "fresh", recipe=STILL)
    return tmp_path / "fresh"


def test_a_checkpoint_and_its_folder_give_the_same_initial_weights(
    first: tuple[Path, TeacherRecord], tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(first[0], folder)
    _normalise_with(folder, 0.5, 0.25)  # as timm's configuration of the architecture, which a checkpoint does not have
    record = train(tmp_path / "t", checkpoint=str(folder / "model.safetensors"))
    assert record.weights_sha256 == train(tmp_path / "u", f"{LOCAL_DIR}{folder}").weights_sha256
    assert record.trained_on_data_id == record.data_id


@pytest.mark.parametrize("change", ["no record", "other data"])
def test_weights_of_unknown_origin_leave_the_training_data_unknown(
    first: tuple[Path, TeacherRecord], tmp_path: Path, change: str
) -> None:
    folder, _ = first
    data = SMALL_DATA
    if change == "no record":
        copy = tmp_path / "copy"
        copy.mkdir()
        for path in folder.iterdir():
            if path.is_file() and path.name != METRICS:
                (copy / path.name).write_bytes(path.read_bytes())
        folder = copy
    else:
        data = DataConfig(max_train_images=200, max_validation_images=160)
    record = train(tmp_path / "t", f"{LOCAL_DIR}{folder}", recipe=STILL, data=data)
    assert record.trained_on_data_id is None


def test_an_interrupted_training_continues_only_from_the_same_initial_weights(
    first: tuple[Path, TeacherRecord], tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    class Stopping(NullProgress):
        def step(self, task: str, done: int, total: int, detail: str = "") -> None:
            if task == "teacher" and done == 1:
                raise StoppedError

    class Recording(NullProgress):
        def __init__(self) -> None:
            self.events: list[str] = []

        def event(self, kind: str, message: str) -> None:
            self.events.append(message)

    folder, _ = first
    with pytest.raises(StoppedError):
        train(tmp_path / "t", f"{LOCAL_DIR}{folder}", progress=Stopping())
    recorded = Recording()
    record = train(tmp_path / "t", f"{LOCAL_DIR}{folder}", progress=recorded)
    assert "training continues after epoch 1" in recorded.events
    assert record.weights_sha256 == train(tmp_path / "whole", f"{LOCAL_DIR}{folder}").weights_sha256

    with pytest.raises(StoppedError):
        train(tmp_path / "u", f"{LOCAL_DIR}{folder}", progress=Stopping())
    recorded = Recording()
    train(tmp_path / "u", progress=recorded)
    assert not any("continues" in event for event in recorded.events)


def test_a_checkpoint_that_does_not_fit_is_an_error_before_training(
    first: tuple[Path, TeacherRecord], tmp_path: Path
) -> None:
    folder, _ = first
    with pytest.raises(TeacherError) as caught:
        train(tmp_path / "t", arguments={"widths": (9,), "depths": (1,)}, checkpoint=str(folder / "model.safetensors"))
    assert (caught.value.code, caught.value.field) == ("models.weights_mismatch", "teacher.checkpoint")
    assert not (tmp_path / "t" / METRICS).exists()
