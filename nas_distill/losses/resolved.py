"""Resolve the losses of a recipe: look them up, fill in default parameters and check the values."""

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
"""Optional name of the control, which trains without a teacher: `losses: {none: {}}` is the same as `losses: {}`."""

_LAST = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedLoss:
    """One loss of a recipe with the values of all its parameters.

    Attributes:
        entry: The registered loss.
        parameters: Value of each parameter, given or default.
    """

    entry: LossEntry
    parameters: Mapping[str, float]

    def __deepcopy__(self, memo: dict[int, Any]) -> ResolvedLoss:
        return self  # immutable

    @property
    def name(self) -> str:
        """Name of the loss."""
        return self.entry.name

    @property
    def weight(self) -> float:
        """Weight of the loss in the sum."""
        return self.parameters[WEIGHT]

    @property
    def takes_embedding(self) -> bool:
        """Whether the loss compares embeddings."""
        return Need.EMBEDDING in self.entry.needs

    @property
    def depth(self) -> float | None:
        """Depth of the feature maps that the loss compares; None for a loss that compares none."""
        return self.parameters.get(DEPTH, _LAST) if Need.FEATURES in self.entry.needs else None


def resolve_losses(recipe: Recipe) -> tuple[ResolvedLoss, ...]:
    """Return the teacher losses of a recipe; none for the control.

    A loss with weight 0 is checked and then left out, so that the teacher computes nothing for it. Schedules multiply
    weights, so it could never contribute. It is not an error: a search space may draw a weight of 0.

    Raises:
        ConfigError: A loss or parameter is unknown, a value is out of range, or a setting of `recipe.adaptive` does
            not apply to these losses.
    """
    named = [
        ResolvedLoss(entry=LOSSES.get(name), parameters=LOSSES.get(name).resolve(given))
        for name, given in _without_control(recipe).items()
    ]
    resolved = tuple(loss for loss in named if loss.weight > 0)
    _check_adaptive(recipe, resolved)
    return resolved


def required_outputs(recipe: Recipe) -> OutputRequest:
    """Return the outputs besides logits that the losses of a recipe compare.

    Raises:
        ConfigError: As from `resolve_losses`.
    """
    resolved = resolve_losses(recipe)
    return OutputRequest(
        embedding=any(loss.takes_embedding for loss in resolved),
        depths=tuple(sorted({loss.depth for loss in resolved if loss.depth is not None})),
    )


def uses_teacher_head(recipe: Recipe) -> bool:
    """Return whether the student of a recipe uses the teacher's classifier (SimKD).

    Raises:
        ConfigError: As from `resolve_losses`.
    """
    return any(loss.entry.uses_teacher_head for loss in resolve_losses(recipe))


def _without_control(recipe: Recipe) -> Mapping[str, Mapping[str, float]]:
    """Return the losses of a recipe without the name of the control."""
    if NONE not in recipe.losses:
        return recipe.losses
    if len(recipe.losses) > 1:
        others = ", ".join(name for name in recipe.losses if name != NONE)
        raise ConfigError(
            f"it is the control, which has no teacher, and cannot be combined with {others}; remove one of the two",
            code="losses.control_with_others",
            field="recipe.losses.none",
        )
    if recipe.losses[NONE]:
        raise ConfigError(
            "the control has no parameters; remove it",
            code="losses.control_with_parameters",
            field=f"recipe.losses.none.{next(iter(recipe.losses[NONE]))}",
        )
    return {}


def _check_adaptive(recipe: Recipe, resolved: tuple[ResolvedLoss, ...]) -> None:
    adaptive = recipe.adaptive
    changed = [name for name, value in dict(adaptive).items() if value != Adaptation.model_fields[name].default]
    if changed and not resolved:
        raise ConfigError(
            "it adapts the teacher's losses, and recipe.losses has none with a weight above 0; add one, or remove this "
            "setting",
            code="losses.adaptation_without_loss",
            field=f"recipe.adaptive.{changed[0]}",
        )
    if adaptive.temperature_schedule != "constant":
        _check_temperature_schedule(adaptive, resolved)
    if adaptive.release:
        _check_release(recipe, resolved)


def _check_temperature_schedule(adaptive: Adaptation, resolved: tuple[ResolvedLoss, ...]) -> None:
    kind = adaptive.temperature_schedule
    if not any(TEMPERATURE_NAME in loss.parameters for loss in resolved):
        raise ConfigError(
            f"{kind} needs a loss with a fixed temperature, and {', '.join(loss.name for loss in resolved)} has none; "
            "use kd, or leave it constant",
            code="losses.temperature_missing",
            field="recipe.adaptive.temperature_schedule",
        )
    if adaptive.teacher_patience:
        raise ConfigError(
            f"{adaptive.teacher_patience} waits until the teacher's losses stop falling, but a {kind} "
            "recipe.adaptive.temperature_schedule makes them fall by itself; use teacher_until, or a constant "
            "temperature",
            code="losses.patience_with_temperature_schedule",
            field="recipe.adaptive.teacher_patience",
        )


def _check_release(recipe: Recipe, resolved: tuple[ResolvedLoss, ...]) -> None:
    other = next((loss.name for loss in resolved if Need.LOGITS not in loss.entry.needs), None)
    if other is not None:
        raise ConfigError(
            f"it compares gradients with respect to the logits, and {other} has none; use losses of logits only, or "
            "set release to false",
            code="losses.release_needs_logit_losses",
            field="recipe.adaptive.release",
        )
    if recipe.mix != "none":
        raise ConfigError(
            f"it needs images of one class, and recipe.mix is {recipe.mix}; set recipe.mix to none, or release to "
            "false",
            code="losses.release_with_mixing",
            field="recipe.adaptive.release",
        )
