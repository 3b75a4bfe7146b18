"""Settings of a new search that could have no effect: refused, so that nobody takes them for part of what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from nas_distill.config import FIXED_RECIPE, FOLDER, SEARCHED_RECIPE, SearchConfig
from nas_distill.errors import ConfigError
from nas_distill.losses.entries import TEMPERATURE_NAME
from nas_distill.losses.resolved import resolve_losses
from nas_distill.records.recipe import Recipe
from nas_distill.search.early_stopping.rules import NO_RULE
from nas_distill.search.spaces.recipes import load_recipe_space

_DIGITS = "digits"
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """A setting that only works beside another one.

    Attributes:
        key: Dotted, in the configuration.
        is_idle: Whether it has no effect in a configuration.
        reason: Why, then.
        way_out: What would give it one.
    """

    key: str
    is_idle: Callable[[SearchConfig], bool]
    reason: str
    way_out: str


def _without_course(kind: str) -> _Setting:
    course = f"recipe.adaptive.{kind}_course"
    return _Setting(
        key=f"recipe.adaptive.{kind}_end",
        is_idle=lambda config: bool(_value(config, course) == "constant"),
        reason=f"{course} is constant",
        way_out=f"set {course} to linear or cosine",
    )


def _without_release(name: str) -> _Setting:
    return _Setting(
        key=f"recipe.adaptive.{name}",
        is_idle=lambda config: not config.recipe.adaptive.release,
        reason="recipe.adaptive.release is off",
        way_out="set recipe.adaptive.release=true",
    )


def _without_mix(name: str) -> _Setting:
    return _Setting(
        key=f"views.{name}",
        is_idle=lambda config: {config.recipe.mix, config.teacher.recipe.mix, *config.views.mixes} == {"none"},
        reason="no recipe mixes images",
        way_out="set recipe.mix to mixup or cutmix",
    )


def _without_teacher(name: str) -> _Setting:
    return _Setting(
        key=f"teacher.{name}",
        is_idle=lambda config: config.teacher.model is None,
        reason="teacher.model is not given, and this project's own teacher is trained first",
        way_out="name the teacher with --teacher",
    )


def _without_stopping(key: str) -> _Setting:
    return _Setting(
        key=key,
        is_idle=lambda config: config.asha.rule == NO_RULE,
        reason=f"asha.rule is {NO_RULE}, and no trial is stopped early",
        way_out="choose a rule with --asha",
    )


_OF_FIXED_RECIPES = (
    _without_course("weight"),
    _without_course("temperature"),
    _Setting(
        key="recipe.adaptive.weight_schedule",
        is_idle=lambda config: config.recipe.adaptive.weight_end == 1,
        reason="recipe.adaptive.weight_end is 1, where it begins",
        way_out="set another end",
    ),
    _Setting(
        key="recipe.adaptive.temperature_schedule",
        is_idle=lambda config: _temperatures(config.recipe) == {config.recipe.adaptive.temperature_end},
        reason="all its losses begin at recipe.adaptive.temperature_end",
        way_out="set another end",
    ),
    _without_release("release_holdout"),
    _without_release("release_level"),
    _Setting(
        key="recipe.min_learning_rate_share",
        is_idle=lambda config: config.recipe.schedule not in ("cosine", "linear"),
        reason="recipe.schedule is neither cosine nor linear",
        way_out="take one of these",
    ),
    _Setting(
        key="recipe.label_smoothing",
        is_idle=lambda config: config.recipe.label_weight == 0 and not _hands_over(config.recipe),
        reason="recipe.label_weight is 0 throughout",
        way_out="give the labels a weight",
    ),
    _Setting(
        key="views.mixes",
        is_idle=lambda config: config.space.recipe == FIXED_RECIPE,
        reason=f"space.recipe is {FIXED_RECIPE}, and only searched recipes choose among them",
        way_out=f"set recipe.mix, or --recipe {SEARCHED_RECIPE}",
    ),
)
_OF_ALL = (
    *(_without_teacher(name) for name in ("checkpoint", "arguments", "image_size", "trust_pickle")),
    *(_without_stopping(f"asha.{name}") for name in ("reduction_factor", "grace_epochs", "rungs")),
    _without_stopping("sampler.stopped_trial_value"),
    _Setting(
        key="asha.grace_epochs",
        is_idle=lambda config: config.asha.rungs is not None,
        reason="asha.rungs names the epochs after which trials are stopped",
        way_out="leave asha.rungs out",
    ),
    _Setting(
        key="data.root",
        is_idle=lambda config: config.data.source == _DIGITS or config.data.source.startswith(FOLDER),
        reason="only timm's data sets are looked for there",
        way_out="name one with --data",
    ),
    _without_mix("mix_alpha"),
    _without_mix("mix_share"),
    _Setting(
        key="teacher.top_k",
        is_idle=lambda config: config.teacher.online,
        reason="teacher.online stores no answers to views",
        way_out="leave --online-teacher out",
    ),
)


def check_settings(config: SearchConfig) -> None:
    """Checks that what was set has an effect.

    Only values other than the defaults are looked at, since a configuration that was written out holds every field. It
    is for new searches: a run goes on with what it was begun with. Of recipe spaces of one's own nobody knows what they
    make of the section `recipe`, and recipes that a space proposes are not asked.

    Raises:
        ConfigError: Something has none; the message says why, and what would give it one.
    """
    defaults = SearchConfig()
    fixed = config.space.recipe == FIXED_RECIPE
    for setting in (*_OF_FIXED_RECIPES, *_OF_ALL) if fixed else _OF_ALL:
        value = _value(config, setting.key)
        if value != _value(defaults, setting.key) and setting.is_idle(config):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            name = setting.key.rpartition(".")[2]
            raise ConfigError(
                f"{setting.key}: {shown!s:.{_LONGEST_SHOWN}} has no effect, since {setting.reason}; {setting.way_out}, "
                f"or leave {name} out"
            )
    if config.space.recipe == SEARCHED_RECIPE:
        _check_chosen(config.recipe, load_recipe_space(SEARCHED_RECIPE).fields)


def _check_chosen(recipe: Recipe, chosen: Sequence[str]) -> None:
    """Checks that nothing was set that the shipped recipe space chooses anew for every trial."""
    default = Recipe()
    given = [f"recipe.{name}" for name in chosen if getattr(recipe, name) != getattr(default, name)]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: has no effect, since --recipe {SEARCHED_RECIPE} chooses it for every trial; leave it "
            f"out, or take --recipe {FIXED_RECIPE} or a space of your own (docs/recipes.md)"
        )


def _hands_over(recipe: Recipe) -> bool:
    """Whether the labels gain weight that the teacher loses."""
    adaptive = recipe.adaptive
    ends = adaptive.teacher_until < 1 or adaptive.teacher_patience > 0
    return ends or adaptive.release or adaptive.weight_schedule != "constant"


def _temperatures(recipe: Recipe) -> set[float]:
    """Returns the fixed temperatures of the recipe's losses."""
    asked = resolve_losses(recipe)
    return {loss.parameters[TEMPERATURE_NAME] for loss in asked if TEMPERATURE_NAME in loss.parameters}


def _value(config: SearchConfig, key: str) -> Any:
    return reduce(getattr, key.split("."), config)
