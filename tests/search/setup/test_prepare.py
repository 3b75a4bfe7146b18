"""Preparation of data, teacher and knowledge, and changes that are found when a search is resumed."""

from __future__ import annotations

import json
import shutil
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
from nas_distill.records.resizing import Resizing
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.preparation import prepare_search
from tests.helpers import SMALL_DATA, Heard, SmallRun


def make_config(small: SmallRun, **teacher: object) -> SearchConfig:
    return SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig.model_validate({"model": f"{LOCAL_DIR}{small.run.teacher}"} | teacher),
        recipe=Recipe(epochs=2),
    )


def test_a_teacher_whose_weights_changed_is_rejected(small_run: SmallRun, tmp_path: Path) -> None:
    run, config = RunDirectory(tmp_path), make_config(small_run)
    first = prepare_search(run, config, NullProgress(), on_cluster=False)
    weights = run.teacher / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    tensors["fc.bias"] += 1.0
    safetensors.torch.save_file(tensors, weights)
    with pytest.raises(RunError) as caught:
        prepare_search(run, config, NullProgress(), on_cluster=False)
    assert (caught.value.code, caught.value.field) == ("search.teacher_changed", str(run.teacher))
    assert [folder.name for folder in run.knowledge.iterdir()] == [first.knowledge["teacher/none"]]


def test_a_teacher_trained_on_other_splits_is_warned_about(small_run: SmallRun, tmp_path: Path) -> None:
    config, heard = make_config(small_run), Heard()
    prepare_search(RunDirectory(tmp_path / "same"), config, heard, on_cluster=False)
    assert not heard.texts("warning")
    other = config.model_copy(update={"data": SMALL_DATA.model_copy(update={"split_seed": 1})})
    prepare_search(RunDirectory(tmp_path / "other"), other, heard, on_cluster=False)
    assert len(heard.texts("warning")) == 1


def test_a_teacher_that_was_trained_at_another_size_is_warned_about(small_run: SmallRun, tmp_path: Path) -> None:
    config, heard = make_config(small_run), Heard()
    sixteen = config.model_copy(update={"data": SMALL_DATA.model_copy(update={"image_size": 16})})
    prepare_search(RunDirectory(tmp_path / "other"), sixteen, heard, on_cluster=False)
    assert [text for text in heard.texts("warning") if "--image-size 8" in text]
    shutil.copytree(small_run.run.teacher, tmp_path / "teacher")
    description = tmp_path / "teacher" / "config.json"
    settings = json.loads(description.read_text())
    settings["pretrained_cfg"]["input_size"] = [1, 24, 24]
    description.write_text(json.dumps(settings))
    wrong = make_config(small_run, model=f"{LOCAL_DIR}{tmp_path / 'teacher'}")
    prepare_search(RunDirectory(tmp_path / "wrong"), wrong, heard, on_cluster=False)
    assert [text for text in heard.texts("warning") if "set teacher.image_size=8" in text]
    meant = make_config(small_run, image_size=8).model_copy(update={"data": sixteen.data})
    silent = Heard()
    prepare_search(RunDirectory(tmp_path / "meant"), meant, silent, on_cluster=False)
    assert not [text for text in silent.texts("warning") if "--image-size" in text]


def test_images_are_resized_like_those_of_the_teacher(small_run: SmallRun, tmp_path: Path) -> None:
    shutil.copytree(small_run.run.teacher, tmp_path / "teacher")
    description = tmp_path / "teacher" / "config.json"
    settings = json.loads(description.read_text())
    settings["pretrained_cfg"] |= {"crop_pct": 0.75, "interpolation": "bilinear"}
    description.write_text(json.dumps(settings))
    config = make_config(small_run, model=f"{LOCAL_DIR}{tmp_path / 'teacher'}")
    config = config.model_copy(update={"data": SMALL_DATA.model_copy(update={"image_size": 16})})
    run = RunDirectory(tmp_path / "run")
    first = prepare_search(run, config, NullProgress(), on_cluster=False)
    assert first.manifest.resizing == Resizing(crop_ratio=0.75, interpolation="bilinear")
    copy = json.loads((run.teacher / "config.json").read_text())["pretrained_cfg"]
    assert (copy["crop_pct"], copy["interpolation"]) == (0.75, "bilinear")
    shutil.rmtree(tmp_path / "teacher")  # a prepared run has its own copy
    assert prepare_search(run, config, NullProgress(), on_cluster=False) == first


def test_a_teacher_whose_normalisation_changed_is_rejected(small_run: SmallRun, tmp_path: Path) -> None:
    run, config = RunDirectory(tmp_path), make_config(small_run)
    prepare_search(run, config, NullProgress(), on_cluster=False)
    description = run.teacher / "config.json"
    settings = json.loads(description.read_text())
    settings["pretrained_cfg"]["mean"] = [0.25]
    description.write_text(json.dumps(settings))
    with pytest.raises(RunError) as caught:
        prepare_search(run, config, NullProgress(), on_cluster=False)
    assert (caught.value.code, caught.value.field) == ("search.teacher_changed", str(run.teacher))


def test_a_second_preparation_computes_nothing(small_run: SmallRun, tmp_path: Path) -> None:
    def written(folder: Path) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    run, config = RunDirectory(tmp_path), make_config(small_run)
    first = prepare_search(run, config, NullProgress(), on_cluster=False)
    files = written(run.knowledge) | written(run.teacher)
    assert prepare_search(run, config, NullProgress(), on_cluster=False) == first
    assert written(run.knowledge) | written(run.teacher) == files


def test_the_configuration_decides_how_much_is_stored(small_run: SmallRun, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    prepared = prepare_search(run, make_config(small_run, top_k=3, embeddings=True), NullProgress(), on_cluster=False)
    shape = Knowledge(run.knowledge / prepared.knowledge["teacher/none"]).manifest.shape
    assert (shape.top_k, shape.embedding_size) == (3, 24)


@pytest.mark.parametrize(("share", "folds"), [(0.1, 0), (0.2, 2)])
def test_a_fixed_recipe_that_can_release_no_class_is_rejected_before_the_teacher_exists(
    small_run: SmallRun, tmp_path: Path, share: float, folds: int
) -> None:
    run = RunDirectory(tmp_path)
    recipe = Recipe(epochs=2, adaptive=Adaptation(release=True, release_holdout=share))
    config = make_config(small_run).model_copy(update={"recipe": recipe, "picks": PicksConfig(folds=folds)})
    with pytest.raises(ConfigError) as caught:
        prepare_search(run, config, NullProgress(), on_cluster=False)
    assert str(caught.value).startswith("recipe.adaptive.release_holdout: ")
    assert not run.teacher.exists()


@pytest.mark.parametrize(
    "changes",
    [{"picks": PicksConfig(folds=0)}, {"space": SpaceConfig(recipe="own.py"), "picks": PicksConfig(folds=2)}],
    ids=["enough images", "searched"],
)
def test_a_recipe_that_can_release_a_class_is_prepared(
    small_run: SmallRun, tmp_path: Path, changes: dict[str, object]
) -> None:
    recipe = Recipe(epochs=2, adaptive=Adaptation(release=True, release_holdout=0.2))
    config = make_config(small_run).model_copy(update={"recipe": recipe, **changes})
    assert prepare_search(RunDirectory(tmp_path), config, NullProgress(), on_cluster=False).knowledge


def test_an_online_teacher_cannot_store_embeddings(small_run: SmallRun) -> None:
    with pytest.raises(ValidationError):
        make_config(small_run, online=True, embeddings=True)
