"""Rejects settings of a new search that would have no effect.

The rules compare sections of the configuration with each other, so this module takes the whole configuration and stands
beside the service instead of below it.
"""

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
from nas_distill.search.spaces.loading import list_spaces
from nas_distill.search.spaces.recipes import load_recipe_space

_DIGITS = "digits"
_PRETRAINED_SPACE = "pretrained"
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A setting that has no effect beside certain other settings.

    Attributes:
        key: Dotted key of the setting.
        is_unused: Whether the setting has no effect in a configuration.
        reason: Reason why it has none.
        fix: Change that would give it an effect.
    """

    key: str
    is_unused: Callable[[SearchConfig], bool]
    reason: str
    fix: str


def check_unused_settings(config: SearchConfig) -> None:
    """Check that every setting of a new search has an effect.

    Settings at their default are skipped, because a configuration that was written to a file holds every key. The
    section `recipe` is checked only with a fixed recipe or the shipped recipe space: how a user's recipe space uses it
    is unknown.

    Args:
        config: Configuration of a new search.

    Raises:
        ConfigError: A setting has no effect.
    """
    defaults = SearchConfig()
    fixed = config.space.recipe == FIXED_RECIPE
    for rule in (*_FIXED_RECIPE_RULES, *_RULES) if fixed else _RULES:
        value = _value(config, rule.key)
        if value != _value(defaults, rule.key) and rule.is_unused(config):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            name = rule.key.rpartition(".")[2]
            raise ConfigError(
                f"{shown!s:.{_LONGEST_SHOWN}} has no effect, because {rule.reason}; {rule.fix}, or leave {name} out",
                code="search.unused_setting",
                field=rule.key,
            )
    if config.space.recipe == SEARCHED_RECIPE:
        _check_searched_fields(config.recipe, load_recipe_space(SEARCHED_RECIPE).fields)


def _check_searched_fields(recipe: Recipe, searched: Sequence[str]) -> None:
    """Check that no field is set that the shipped recipe space chooses for every trial."""
    default = Recipe()
    given = [f"recipe.{name}" for name in searched if getattr(recipe, name) != getattr(default, name)]
    if given:
        raise ConfigError(
            f"has no effect, because --recipe {SEARCHED_RECIPE} chooses it for every trial; leave it out, or use "
            f"--recipe {FIXED_RECIPE} or a recipe space of your own (docs/how-to/own-recipe.md)",
            code="search.unused_setting",
            field=", ".join(given),
        )


def _schedule_end(kind: str) -> _Rule:
    schedule = f"recipe.adaptive.{kind}_schedule"
    return _Rule(
        key=f"recipe.adaptive.{kind}_end",
        is_unused=lambda config: bool(_value(config, schedule) == "constant"),
        reason=f"{schedule} is constant",
        fix=f"set {schedule} to linear or cosine",
    )


def _needs_release(name: str) -> _Rule:
    return _Rule(
        key=f"recipe.adaptive.{name}",
        is_unused=lambda config: not config.recipe.adaptive.release,
        reason="recipe.adaptive.release is off",
        fix="set recipe.adaptive.release=true",
    )


def _needs_mixing(name: str) -> _Rule:
    return _Rule(
        key=f"views.{name}",
        is_unused=lambda config: {config.recipe.mix, config.teacher.recipe.mix, *config.views.mixes} == {"none"},
        reason="no recipe mixes images",
        fix="set recipe.mix to mixup or cutmix",
    )


def _needs_image_size(name: str) -> _Rule:
    return _Rule(
        key=f"data.{name}",
        is_unused=lambda config: config.data.image_size is None,
        reason="images are resized only if data.image_size is given",
        fix="pass --image-size",
    )


def _needs_teacher(name: str) -> _Rule:
    return _Rule(
        key=f"teacher.{name}",
        is_unused=lambda config: config.teacher.model is None,
        reason="teacher.model is not given, so that the search trains its own teacher",
        fix="name the teacher with --teacher",
    )


def _needs_early_stopping(key: str) -> _Rule:
    return _Rule(
        key=key,
        is_unused=lambda config: config.asha.rule == NO_RULE,
        reason=f"asha.rule is {NO_RULE}, so that no trial is stopped early",
        fix="choose a rule with --asha",
    )


def _labels_gain_weight(recipe: Recipe) -> bool:
    """Return whether the weight of the labels rises as that of the teacher falls."""
    adaptive = recipe.adaptive
    ends = adaptive.teacher_until < 1 or adaptive.teacher_patience > 0
    return ends or adaptive.release or adaptive.weight_schedule != "constant"


def _temperatures(recipe: Recipe) -> set[float]:
    """Return the initial temperatures of the recipe's losses."""
    losses = resolve_losses(recipe)
    return {loss.parameters[TEMPERATURE_NAME] for loss in losses if TEMPERATURE_NAME in loss.parameters}


def _value(config: SearchConfig, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


_FIXED_RECIPE_RULES = (
    _schedule_end("weight"),
    _schedule_end("temperature"),
    _Rule(
        key="recipe.adaptive.weight_schedule",
        is_unused=lambda config: config.recipe.adaptive.weight_end == 1,
        reason="recipe.adaptive.weight_end is 1, which is also the initial weight",
        fix="set another recipe.adaptive.weight_end",
    ),
    _Rule(
        key="recipe.adaptive.temperature_schedule",
        is_unused=lambda config: _temperatures(config.recipe) == {config.recipe.adaptive.temperature_end},
        reason="recipe.adaptive.temperature_end is also the initial temperature of all losses",
        fix="set another recipe.adaptive.temperature_end",
    ),
    _needs_release("release_holdout"),
    _needs_release("release_level"),
    _Rule(
        key="recipe.min_learning_rate_share",
        is_unused=lambda config: config.recipe.schedule not in ("cosine", "linear"),
        reason="recipe.schedule is neither cosine nor linear",
        fix="set recipe.schedule to cosine or linear",
    ),
    _Rule(
        key="recipe.label_smoothing",
        is_unused=lambda config: config.recipe.label_weight == 0 and not _labels_gain_weight(config.recipe),
        reason="recipe.label_weight is 0 throughout",
        fix="set recipe.label_weight above 0",
    ),
    _Rule(
        key="views.mixes",
        is_unused=lambda config: config.space.recipe == FIXED_RECIPE,
        reason=f"space.recipe is {FIXED_RECIPE}, and only searched recipes choose among mixes",
        fix=f"set recipe.mix, or --recipe {SEARCHED_RECIPE}",
    ),
)
"""Rules that hold when every trial uses the configuration's recipe."""

_RULES = (
    *(_needs_teacher(name) for name in ("checkpoint", "arguments", "image_size", "trust_pickle")),
    *(
        _needs_early_stopping(f"asha.{name}")
        for name in ("reduction_factor", "grace_epochs", "rungs", "startup_trials")
    ),
    _needs_early_stopping("sampler.stopped_trial_value"),
    _Rule(
        key="asha.grace_epochs",
        is_unused=lambda config: config.asha.rungs is not None,
        reason="asha.rungs names the rungs",
        fix="leave asha.rungs out",
    ),
    _Rule(
        key="data.root",
        is_unused=lambda config: config.data.source == _DIGITS or config.data.source.startswith(FOLDER),
        reason="only timm's data sets are read from it",
        fix="name one with --data",
    ),
    _needs_image_size("crop_ratio"),
    _needs_image_size("interpolation"),
    _Rule(
        key="space.licences",
        is_unused=lambda config: config.space.name in list_spaces() and config.space.name != _PRETRAINED_SPACE,
        reason="only pretrained networks have weights with a licence",
        fix=f"choose --space {_PRETRAINED_SPACE}",
    ),
    _needs_mixing("mix_alpha"),
    _needs_mixing("mix_share"),
    _Rule(
        key="views.crop_aspect",
        is_unused=lambda config: config.views.min_crop_area == 1,
        reason="views.min_crop_area is 1, so that there is no random resized crop",
        fix="set views.min_crop_area below 1",
    ),
    _Rule(
        key="views.operations",
        is_unused=lambda config: config.views.strength == 0,
        reason="views.strength is 0",
        fix="set views.strength above 0",
    ),
    _Rule(
        key="teacher.recipe.fine_tuning_rate_share",
        is_unused=lambda _: True,
        reason="the teacher that a search trains starts from random weights",
        fix="set teacher.recipe.learning_rate",
    ),
    _Rule(
        key="teacher.top_k",
        is_unused=lambda config: config.teacher.online,
        reason="teacher.online stores no outputs on views",
        fix="leave --online-teacher out",
    ),
)
"""Rules that hold with every recipe space."""
