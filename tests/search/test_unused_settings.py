"""Settings without effect are told before a search begins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest

from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config, load_config
from nas_distill.errors import ConfigError
from nas_distill.records.recipe import Adaptation, Recipe
from nas_distill.search.service import start_search
from nas_distill.search.setup.no_effect import check_settings
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe
from search_spaces.recipes import CHOSEN
from tests.helpers import Heard

CONSTANT_SCHEDULE = (
    r"0.5 has no effect, since recipe\.adaptive\.{kind}_course is constant; set recipe\.adaptive\.{kind}_course"
)
NO_RELEASE = r"0.2 has no effect, since recipe\.adaptive\.release is off; set recipe\.adaptive\.release=true"
NO_MIX = r"0.5 has no effect, since no recipe mixes images; set recipe\.mix to mixup or cutmix"

NO_TEACHER = r" has no effect, since teacher\.model is not given, .*; name the teacher with --teacher"
NO_STOPPING = r" has no effect, since asha\.rule is none, .*; choose a rule with --asha"
NO_LOOK = r"pictures has no effect, since only timm's data sets are looked for there; name one with --data"
GIVEN, NEVER_STOPS = "teacher.model=local-dir:t", "asha.rule=none"


class Idle(NamedTuple):
    """A setting, the rule that refuses it, what takes its effect away and what gives it one."""

    setting: str
    expected: str
    beside: tuple[str, ...] = ()
    way_out: tuple[str, ...] = ()


IDLE = [
    Idle(
        "recipe.adaptive.weight_end=0.5",
        CONSTANT_SCHEDULE.format(kind="weight"),
        (),
        ("recipe.adaptive.weight_schedule=linear",),
    ),
    Idle(
        "recipe.adaptive.temperature_end=0.5",
        CONSTANT_SCHEDULE.format(kind="temperature"),
        (),
        ("recipe.adaptive.temperature_schedule=cosine",),
    ),
    Idle(
        "recipe.adaptive.weight_schedule=linear",
        r"linear has no effect, since recipe\.adaptive\.weight_end is 1, where it begins",
        ("recipe.adaptive.weight_end=1",),
        ("recipe.adaptive.weight_end=0.5",),
    ),
    Idle(
        "recipe.adaptive.temperature_schedule=cosine",
        r"cosine has no effect, since all its losses begin at recipe\.adaptive\.temperature_end",
        ("recipe.losses={kd: {temperature: 3}, dist: {temperature: 3}}", "recipe.adaptive.temperature_end=3"),
        ("recipe.losses={kd: {temperature: 3}, dist: {temperature: 2}}", "recipe.adaptive.temperature_end=3"),
    ),
    Idle("recipe.adaptive.release_holdout=0.2", NO_RELEASE, (), ("recipe.adaptive.release=true",)),
    Idle("recipe.adaptive.release_level=0.2", NO_RELEASE, (), ("recipe.adaptive.release=true",)),
    Idle("views.mix_alpha=0.5", NO_MIX, (), ("recipe.mix=mixup",)),
    Idle("views.mix_share=0.5", NO_MIX, (), ("teacher.recipe.mix=cutmix",)),
    Idle(
        "views.mixes=[mixup, cutmix]",
        r"mixup, cutmix has no effect, since space\.recipe is fixed, .*; set recipe\.mix, or --recipe search",
        (),
        ("space.recipe=search",),
    ),
    Idle("teacher.top_k=3", r"3 has no effect, since teacher\.online stores no answers", ("teacher.online=true",)),
    Idle("teacher.checkpoint=t.safetensors", "t.safetensors" + NO_TEACHER, (), ("teacher.model=resnet18",)),
    Idle("teacher.arguments={layers: [1, 1]}", ".*layers.*" + NO_TEACHER, (), ("teacher.model=resnet18",)),
    Idle("teacher.image_size=16", "16" + NO_TEACHER, (), ("teacher.model=resnet18",)),
    Idle("teacher.trust_pickle=true", "True" + NO_TEACHER, (), ("teacher.model=resnet18",)),
    Idle("asha.rungs=[3, 9]", "3, 9" + NO_STOPPING, (NEVER_STOPS,)),
    Idle("asha.grace_epochs=2", "2" + NO_STOPPING, (NEVER_STOPS,)),
    Idle("asha.reduction_factor=4", "4.0" + NO_STOPPING, (NEVER_STOPS,)),
    Idle("sampler.stopped_trial_value=failed", "failed" + NO_STOPPING, (NEVER_STOPS,), ("asha.rule=layers",)),
    Idle("asha.grace_epochs=2", r"2 has no effect, since asha\.rungs names", ("asha.rungs=[3, 9]",)),
    Idle("data.root=pictures", NO_LOOK),
    Idle("data.root=pictures", NO_LOOK, ("data.source=folder:pictures", GIVEN), ("data.source=torch/cifar10", GIVEN)),
]


def test_one_file_serves_the_training_of_a_teacher_and_the_search() -> None:
    check_settings(configured("teacher.recipe.epochs=3", GIVEN))


def configured(*overrides: str) -> SearchConfig:
    return load_config(None, overrides)


@pytest.mark.parametrize("idle", IDLE, ids=[f"{idle.setting} {' '.join(idle.beside)}".strip() for idle in IDLE])
def test_what_has_no_effect_is_refused_and_what_has_one_is_not(idle: Idle) -> None:
    key = idle.setting.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: {idle.expected}") as caught:
        check_settings(configured(idle.setting, *idle.beside))
    message = str(caught.value)
    assert message.endswith(f", or leave {key.rpartition('.')[2]} out")
    assert "\n" not in message
    if idle.way_out != idle.beside:
        check_settings(configured(idle.setting, *idle.way_out))


@pytest.mark.parametrize("schedule", ["step", "constant"])
def test_schedules_that_end_elsewhere_take_no_end(schedule: str) -> None:
    with pytest.raises(
        ConfigError, match=r"recipe\.min_learning_rate_share: 0.1 has no effect, since recipe\.schedule"
    ):
        check_settings(configured(f"recipe.schedule={schedule}", "recipe.min_learning_rate_share=0.1"))
    check_settings(configured(f"recipe.schedule={schedule}"))
    check_settings(configured("recipe.schedule=linear", "recipe.min_learning_rate_share=0.1"))


def test_labels_that_never_count_are_not_smoothed() -> None:
    smoothed = ("recipe.label_weight=0", "recipe.label_smoothing=0.1")
    with pytest.raises(
        ConfigError, match=r"recipe\.label_smoothing: 0.1 has no effect, since recipe\.label_weight is 0"
    ):
        check_settings(configured(*smoothed))
    for hands_over in ("weight_schedule=linear", "teacher_until=0.5", "teacher_patience=2", "release=true"):
        check_settings(configured(*smoothed, f"recipe.adaptive.{hands_over}"))


@pytest.mark.parametrize("recipe", ["fixed", "search", "own.py"])
def test_defaults_that_were_written_out_are_no_settings(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "config.yaml"
    for others in ((), (GIVEN, NEVER_STOPS), ("asha.rungs=[3]",), ("data.source=torch/cifar10", GIVEN)):
        path.write_text(dump_config(configured(f"space.recipe={recipe}", *others)))
        check_settings(load_config(path))


def test_what_the_shipped_recipe_space_chooses_anew_is_not_set() -> None:
    set_ = ("recipe.adaptive.release=true", "recipe.label_weight=0.5", "recipe.learning_rate=0.1")
    with pytest.raises(
        ConfigError, match=r"^recipe\.label_weight, recipe\.adaptive: has no effect, .* or take --recipe"
    ):
        check_settings(configured("space.recipe=search", *set_))
    check_settings(configured("space.recipe=search", "recipe.learning_rate=0.1", "recipe.warmup_share=0"))
    check_settings(configured("space.recipe=own.py", *set_, "recipe.adaptive.weight_end=0.5"))


def test_the_shipped_recipe_space_chooses_what_it_says_and_keeps_the_rest() -> None:
    space, config = load_recipe_space("search"), SearchConfig()
    other = Recipe(
        losses={"kd": {}}, label_weight=0.3, label_smoothing=0.05, dropout=0.15, drop_path=0.01, ema_decay=0.5,
        schedule="step", adaptive=Adaptation(teacher_until=0.7), early_stopping_patience=11,
    )  # fmt: skip
    assert all(getattr(other, name) != getattr(Recipe(), name) for name in CHOSEN)
    for seed in range(50):
        from_default, from_other = (
            propose_recipe(
                space,
                optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask(),
                base,
                make_choices(config),
            )
            for base in (Recipe(), other)
        )
        assert from_default == from_other
        # What is proposed holds nothing that would be refused of a fixed recipe.
        check_settings(config.model_copy(update={"recipe": from_default}))


def test_it_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="weight_end"):
        start_search(configured("recipe.adaptive.weight_end=0.5"), tmp_path / "run", Heard())
    assert not (tmp_path / "run").exists()
