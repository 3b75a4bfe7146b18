"""Settings without effect are rejected before a search starts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import optuna
import pytest

from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config, load_config
from nas_distill.errors import ConfigError
from nas_distill.records.recipe import Adaptation, Recipe
from nas_distill.search.service import start_search
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe
from nas_distill.search.unused_settings import check_unused_settings
from search_spaces.recipes import CHOSEN
from tests.helpers import Heard

WITH_TEACHER, NEVER_STOPS = "teacher.model=local-dir:t", "asha.rule=none"


class Unused(NamedTuple):
    """A setting without effect.

    Attributes:
        setting: The setting, as `--set` takes it.
        beside: Other settings that take its effect away.
        fixed: Other settings with which it has an effect.
    """

    setting: str
    beside: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


SAME_END = "recipe.adaptive.temperature_end=3"
UNUSED = [
    Unused("recipe.adaptive.weight_end=0.5", (), ("recipe.adaptive.weight_schedule=linear",)),
    Unused("recipe.adaptive.temperature_end=0.5", (), ("recipe.adaptive.temperature_schedule=cosine",)),
    Unused(
        "recipe.adaptive.weight_schedule=linear",
        ("recipe.adaptive.weight_end=1",),
        ("recipe.adaptive.weight_end=0.5",),
    ),
    Unused(
        "recipe.adaptive.temperature_schedule=cosine",
        ("recipe.losses={kd: {temperature: 3}, dist: {temperature: 3}}", SAME_END),
        ("recipe.losses={kd: {temperature: 3}, dist: {temperature: 2}}", SAME_END),
    ),
    Unused("recipe.adaptive.release_holdout=0.2", (), ("recipe.adaptive.release=true",)),
    Unused("recipe.adaptive.release_level=0.2", (), ("recipe.adaptive.release=true",)),
    Unused("recipe.min_learning_rate_share=0.1", ("recipe.schedule=step",), ("recipe.schedule=linear",)),
    Unused("recipe.min_learning_rate_share=0.1", ("recipe.schedule=constant",)),
    Unused("views.mix_alpha=0.5", (), ("recipe.mix=mixup",)),
    Unused("views.mix_share=0.5", (), ("teacher.recipe.mix=cutmix",)),
    Unused("views.mixes=[mixup, cutmix]", (), ("space.recipe=search",)),
    Unused("teacher.top_k=3", ("teacher.online=true",)),
    Unused("teacher.recipe.fine_tuning_rate_share=0.5"),
    Unused("teacher.checkpoint=t.safetensors", (), ("teacher.model=resnet18",)),
    Unused("teacher.arguments={layers: [1, 1]}", (), ("teacher.model=resnet18",)),
    Unused("teacher.image_size=16", (), ("teacher.model=resnet18",)),
    Unused("teacher.trust_pickle=true", (), ("teacher.model=resnet18",)),
    Unused("asha.rungs=[3, 9]", (NEVER_STOPS,)),
    Unused("asha.grace_epochs=2", (NEVER_STOPS,)),
    Unused("asha.reduction_factor=4", (NEVER_STOPS,)),
    Unused("asha.startup_trials=2", (NEVER_STOPS,)),
    Unused("sampler.stopped_trial_value=failed", (NEVER_STOPS,), ("asha.rule=layers",)),
    Unused("asha.grace_epochs=2", ("asha.rungs=[3, 9]",)),
    Unused("views.crop_aspect=2", ("views.min_crop_area=1",), ("views.min_crop_area=0.5",)),
    Unused("views.operations=3", (), ("views.strength=0.3",)),
    Unused("data.crop_ratio=0.9", (), ("data.image_size=32",)),
    Unused("data.interpolation=bilinear", (), ("data.image_size=32",)),
    Unused("space.licences=[mit]", ("space.name=tiny",), ("space.name=pretrained",)),
    Unused("data.root=pictures"),
    Unused(
        "data.root=pictures",
        ("data.source=folder:pictures", WITH_TEACHER),
        ("data.source=torch/cifar10", WITH_TEACHER),
    ),
]


def rejection(config: SearchConfig) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check_unused_settings(config)
    assert caught.value.code == "search.unused_setting"
    assert "\n" not in str(caught.value)
    return caught.value


def test_one_file_can_configure_the_teachers_training_and_the_search() -> None:
    check_unused_settings(configured("teacher.recipe.epochs=3", WITH_TEACHER))


def configured(*overrides: str) -> SearchConfig:
    return load_config(None, overrides)


def test_a_setting_without_effect_is_rejected_unless_another_gives_it_one() -> None:
    for unused in UNUSED:
        key = unused.setting.partition("=")[0]
        assert rejection(configured(unused.setting, *unused.beside)).field == key, unused
        if unused.fixed != unused.beside:
            check_unused_settings(configured(unused.setting, *unused.fixed))


def test_label_smoothing_needs_labels_with_a_weight() -> None:
    smoothed = ("recipe.label_weight=0", "recipe.label_smoothing=0.1")
    assert rejection(configured(*smoothed)).field == "recipe.label_smoothing"
    for gives_weight in ("weight_schedule=linear", "teacher_until=0.5", "teacher_patience=2", "release=true"):
        check_unused_settings(configured(*smoothed, f"recipe.adaptive.{gives_weight}"))


@pytest.mark.parametrize("recipe", ["fixed", "search", "own.py"])
def test_defaults_that_were_written_to_a_file_are_accepted(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "config.yaml"
    for others in ((), (WITH_TEACHER, NEVER_STOPS), ("asha.rungs=[3]",), ("data.source=torch/cifar10", WITH_TEACHER)):
        path.write_text(dump_config(configured(f"space.recipe={recipe}", *others)))
        check_unused_settings(load_config(path))


def test_fields_that_the_shipped_recipe_space_chooses_cannot_be_set() -> None:
    settings = ("recipe.adaptive.release=true", "recipe.label_weight=0.5", "recipe.learning_rate=0.1")
    error = rejection(configured("space.recipe=search", *settings))
    assert error.field == "recipe.label_weight, recipe.adaptive"
    check_unused_settings(configured("space.recipe=search", "recipe.learning_rate=0.1", "recipe.warmup_share=0"))
    check_unused_settings(configured("space.recipe=own.py", *settings, "recipe.adaptive.weight_end=0.5"))


def test_the_shipped_recipe_space_sets_its_fields_and_keeps_the_others() -> None:
    space, config = load_recipe_space("search"), SearchConfig()
    choices = make_choices(config.recipe, config.teacher)
    other = Recipe(
        losses={"kd": {}}, label_weight=0.3, label_smoothing=0.05, dropout=0.15, drop_path=0.01, ema_decay=0.5,
        schedule="step", adaptive=Adaptation(teacher_until=0.7), early_stopping_patience=11, fine_tuning_rate_share=0.5,
    )  # fmt: skip
    assert all(getattr(other, name) != getattr(Recipe(), name) for name in CHOSEN)
    for seed in range(50):
        from_default, from_other = (
            propose_recipe(
                space, optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask(), base, choices
            )
            for base in (Recipe(), other)
        )
        assert from_default == from_other
        # No proposed recipe has a setting that would be rejected in a fixed recipe.
        check_unused_settings(config.model_copy(update={"recipe": from_default}))


def test_an_unused_setting_is_rejected_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        start_search(configured("recipe.adaptive.weight_end=0.5"), tmp_path / "run", Heard())
    assert caught.value.field == "recipe.adaptive.weight_end"
    assert not (tmp_path / "run").exists()
