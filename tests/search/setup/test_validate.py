"""Checks of the configuration before anything is computed."""

from __future__ import annotations

import pytest

from nas_distill.config import TeacherConfig
from nas_distill.errors import ConfigError
from nas_distill.records import Recipe
from nas_distill.search.setup.validate import check_assistants, check_folds, check_losses


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(losses={}, label_weight=1.0),
        Recipe(losses={"simkd": {"weight": 0.0}}),
        Recipe(losses={"simkd": {}}),
    ],
    ids=["labels alone", "weight 0", "teacher's classifier"],
)
def test_a_fixed_recipe_without_room_for_an_assistant_is_rejected(recipe: Recipe) -> None:
    with pytest.raises(ConfigError) as caught:
        check_assistants(1, recipe, is_recipe_fixed=True)
    assert (caught.value.code, caught.value.field) == ("search.recipe_without_assistants", "assistants.count")
    assert "\n" not in str(caught.value)
    check_assistants(0, recipe, is_recipe_fixed=True)
    check_assistants(1, recipe, is_recipe_fixed=False)
    check_assistants(1, Recipe(), is_recipe_fixed=True)


@pytest.mark.parametrize(
    ("mixes", "is_recipe_fixed"), [((), True), (("none",), True), ((), False), (("mixup",), False)]
)
def test_folds_are_rejected_if_every_recipe_mixes_images(mixes: tuple[str, ...], is_recipe_fixed: bool) -> None:
    recipe = Recipe(mix="cutmix")
    with pytest.raises(ConfigError) as caught:
        check_folds(2, recipe, mixes, is_recipe_fixed=is_recipe_fixed)
    assert (caught.value.code, caught.value.field) == ("search.folds_with_mixing", "picks.folds")
    check_folds(0, recipe, mixes, is_recipe_fixed=is_recipe_fixed)


def test_folds_are_accepted_if_some_recipe_mixes_no_images() -> None:
    check_folds(2, Recipe(mix="cutmix"), ("none",), is_recipe_fixed=False)
    check_folds(2, Recipe(), (), is_recipe_fixed=True)


def test_losses_of_feature_maps_need_an_online_teacher() -> None:
    recipe = Recipe(losses={"at": {}})
    with pytest.raises(ConfigError) as caught:
        check_losses(recipe, TeacherConfig())
    assert (caught.value.code, caught.value.field) == ("search.loss_needs_online_teacher", "recipe.losses.at")
    check_losses(recipe, TeacherConfig(online=True))
    check_losses(Recipe(losses={"rkd": {}}), TeacherConfig())
