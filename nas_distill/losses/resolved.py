"""What a recipe asks of its losses, checked before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas_distill.errors import ConfigError
from nas_distill.losses.entries import DEPTH, TEMPERATURE_NAME, WEIGHT, LossEntry, Need
from nas_distill.losses.shipped import LOSSES
from nas_distill.model_outputs import OutputRequest
from nas_distill.records.recipe import Adaptation, Recipe

NONE = "none"
"""What a recipe may call the control, which asks no teacher: `losses: {none: {}}` is `losses: {}`."""

_LAST = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedLoss:
    """One loss of a recipe.

    Attributes:
        entry: The loss.
        parameters: All of them, given or by default.
    """

    entry: LossEntry
    parameters: Mapping[str, float]

    def __deepcopy__(self, memo: dict[int, Any]) -> ResolvedLoss:
        return self  # nothing in it changes

    @property
    def name(self) -> str:
        """The loss's name."""
        return self.entry.name

    @property
    def weight(self) -> float:
        """Its weight in the sum."""
        return self.parameters[WEIGHT]

    @property
    def takes_embedding(self) -> bool:
        """Whether it compares embeddings."""
        return Need.EMBEDDING in self.entry.needs

    @property
    def depth(self) -> float | None:
        """Depth of the feature maps that it compares; None when it compares none."""
        return self.parameters.get(DEPTH, _LAST) if Need.FEATURES in self.entry.needs else None


def resolve_losses(recipe: Recipe) -> tuple[ResolvedLoss, ...]:
    """Returns the teacher losses of a recipe; none for the control.

    A loss of weight 0 has no pull, whatever the schedule, which multiplies weights: it is checked and then left out, so
    that the teacher is asked nothing for its sake. Refusing it would end searches whose own space draws a weight of 0.

    Raises:
        ConfigError: A loss or parameter is unknown, a value is out of range, or what adapts has nothing to adapt.
    """
    named = [
        ResolvedLoss(entry=LOSSES.get(name), parameters=LOSSES.get(name).resolve(given))
        for name, given in _without_control(recipe).items()
    ]
    asked = tuple(loss for loss in named if loss.weight > 0)
    _check_adaptive(recipe, asked)
    return asked


def required_outputs(recipe: Recipe) -> OutputRequest:
    """Returns what a recipe's losses compare besides logits.

    Raises:
        ConfigError: As from `resolve_losses`.
    """
    asked = resolve_losses(recipe)
    return OutputRequest(
        embedding=any(loss.takes_embedding for loss in asked),
        depths=tuple(sorted({loss.depth for loss in asked if loss.depth is not None})),
    )


def uses_teacher_head(recipe: Recipe) -> bool:
    """Whether the recipe's student answers through the teacher's classifier.

    Raises:
        ConfigError: As from `resolve_losses`.
    """
    return any(loss.entry.uses_teacher_head for loss in resolve_losses(recipe))


def _without_control(recipe: Recipe) -> Mapping[str, Mapping[str, float]]:
    """Returns the recipe's losses without the control's name."""
    if NONE not in recipe.losses:
        return recipe.losses
    if len(recipe.losses) > 1:
        others = ", ".join(name for name in recipe.losses if name != NONE)
        raise ConfigError(f"recipe.losses.none: it is the control, without a teacher; leave it or {others} out")
    if recipe.losses[NONE]:
        raise ConfigError(f"recipe.losses.none.{next(iter(recipe.losses[NONE]))}: the control takes no parameters")
    return {}


def _check_adaptive(recipe: Recipe, asked: tuple[ResolvedLoss, ...]) -> None:
    adaptive = recipe.adaptive
    changed = [name for name, value in dict(adaptive).items() if value != Adaptation.model_fields[name].default]
    if changed and not asked:
        raise ConfigError(
            f"recipe.adaptive.{changed[0]}: it adapts the teacher's terms, and recipe.losses has none with a weight "
            "above 0; add one, or leave it out"
        )
    if adaptive.temperature_schedule != "constant" and not any(TEMPERATURE_NAME in loss.parameters for loss in asked):
        raise ConfigError(
            f"recipe.adaptive.temperature_schedule: {adaptive.temperature_schedule} needs a loss with a temperature, "
            f"and {', '.join(loss.name for loss in asked)} has none; take kd, or leave it constant"
        )
    if adaptive.temperature_schedule != "constant" and adaptive.teacher_patience:
        raise ConfigError(
            f"recipe.adaptive.teacher_patience: {adaptive.teacher_patience} waits for the teacher's terms to stop "
            "falling, and they fall by themselves with the temperature (recipe.adaptive.temperature_schedule is "
            f"{adaptive.temperature_schedule}); take teacher_until, or a constant temperature"
        )
    other = next((loss.name for loss in asked if Need.LOGITS not in loss.entry.needs), None)
    if adaptive.release and other is not None:
        raise ConfigError(
            f"recipe.adaptive.release: it weighs pulls on the logits, and {other} has none; take losses of logits "
            "alone, or leave it out"
        )
    if adaptive.release and recipe.mix != "none":
        raise ConfigError(
            f"recipe.adaptive.release: it needs images of one class, and recipe.mix is {recipe.mix}; take none, or "
            "leave release out"
        )
