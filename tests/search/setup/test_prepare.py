"""What stands before the first trial, and what is found changed when a search goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
from pydantic import ValidationError

from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, PicksConfig, SearchConfig, SpaceConfig, TeacherConfig
from nas_distill.errors import ConfigError, RunError
from nas_distill.knowledge.store import Knowledge
from nas_distill.records import Recipe
from nas_distill.records.recipe import Adaptation
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.prepare import prepare
from tests.helpers import SMALL_DATA, Heard, SmallRun


def make_config(small: SmallRun, **teacher: object) -> SearchConfig:
    return SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig.model_validate({"model": f"{LOCAL_DIR}{small.run.teacher}"} | teacher),
        recipe=Recipe(epochs=2),
    )


def test_a_teacher_that_changed_under_its_name_is_told(small_run: SmallRun, tmp_path: Path) -> None:
    run, config = RunDirectory(tmp_path), make_config(small_run)
    first = prepare(run, config, NullProgress())
    weights = run.teacher / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    tensors["fc.bias"] += 1.0
    safetensors.torch.save_file(tensors, weights)
    with pytest.raises(RunError, match=r"the weights are not those that metrics\.json was measured on; restore them"):
        prepare(run, config, NullProgress())
    assert [folder.name for folder in run.knowledge.iterdir()] == [first.knowledge["teacher/none"]]


def test_a_teacher_that_saw_other_splits_is_told(small_run: SmallRun, tmp_path: Path) -> None:
    config, heard = make_config(small_run), Heard()
    prepare(RunDirectory(tmp_path / "same"), config, heard)
    assert not heard.texts("warning")
    other = config.model_copy(update={"data": SMALL_DATA.model_copy(update={"split_seed": 1})})
    prepare(RunDirectory(tmp_path / "other"), other, heard)
    assert "may have seen these validation images" in heard.texts("warning")[0]


def test_a_teacher_with_another_normalisation_is_asked_again(small_run: SmallRun, tmp_path: Path) -> None:
    run, config = RunDirectory(tmp_path), make_config(small_run)
    first = prepare(run, config, NullProgress())
    description = run.teacher / "config.json"
    settings = json.loads(description.read_text())
    settings["pretrained_cfg"]["mean"] = [0.25]
    description.write_text(json.dumps(settings))
    assert prepare(run, config, NullProgress()).knowledge["teacher/none"] != first.knowledge["teacher/none"]


def test_what_is_prepared_stays(small_run: SmallRun, tmp_path: Path) -> None:
    run, config, heard = RunDirectory(tmp_path), make_config(small_run), Heard()
    first = prepare(run, config, NullProgress())
    assert prepare(run, config, heard) == first
    assert heard.texts("knowledge") == [f"the teacher's outputs are already stored ({first.knowledge['teacher/none']})"]


def test_the_configuration_says_how_much_is_stored(small_run: SmallRun, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    prepared = prepare(run, make_config(small_run, top_k=3, embeddings=True), NullProgress())
    shape = Knowledge(run.knowledge / prepared.knowledge["teacher/none"]).manifest.shape
    assert (shape.top_k, shape.embedding_size) == (3, 24)


@pytest.mark.parametrize(("share", "folds"), [(0.1, 0), (0.2, 2)])
def test_a_fixed_recipe_that_could_release_no_class_is_refused_before_the_teacher_is_asked(
    small_run: SmallRun, tmp_path: Path, share: float, folds: int
) -> None:
    run = RunDirectory(tmp_path)
    recipe = Recipe(epochs=2, adaptive=Adaptation(release=True, release_holdout=share))
    config = make_config(small_run).model_copy(update={"recipe": recipe, "picks": PicksConfig(folds=folds)})
    with pytest.raises(
        ConfigError, match=r"recipe\.adaptive\.release_holdout: .* holds out at most 3 training"
    ) as caught:
        prepare(run, config, NullProgress())
    assert "\n" not in str(caught.value)
    assert not run.teacher.exists()


@pytest.mark.parametrize(
    "changes",
    [{"picks": PicksConfig(folds=0)}, {"space": SpaceConfig(recipe="own.py"), "picks": PicksConfig(folds=2)}],
    ids=["enough images", "searched"],
)
def test_a_recipe_that_could_release_a_class_is_prepared(
    small_run: SmallRun, tmp_path: Path, changes: dict[str, object]
) -> None:
    recipe = Recipe(epochs=2, adaptive=Adaptation(release=True, release_holdout=0.2))
    config = make_config(small_run).model_copy(update={"recipe": recipe, **changes})
    assert prepare(RunDirectory(tmp_path), config, NullProgress()).knowledge


def test_embeddings_of_an_online_teacher_are_refused(small_run: SmallRun) -> None:
    with pytest.raises(ValidationError, match="embeddings are stored, and with online nothing is"):
        make_config(small_run, online=True, embeddings=True)
