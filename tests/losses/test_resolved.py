"""Resolving the losses of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from nas_distill.errors import ConfigError
from nas_distill.losses.registry import LOSSES, Need, required_outputs, resolve_losses, uses_teacher_head
from nas_distill.model_outputs import OutputRequest
from nas_distill.records.recipe import Adaptation, Recipe


def make(adaptive: dict[str, Any] | None = None, **losses: dict[str, float]) -> Recipe:
    return Recipe(losses=losses, label_weight=1.0, adaptive=Adaptation(**(adaptive or {})))


def test_the_outputs_that_a_recipe_requires_besides_logits() -> None:
    assert not required_outputs(make(kd={}, dkd={})).more_than_logits
    assert required_outputs(make(rkd={})).embedding
    request = required_outputs(make(at={"depth": 1.0}, hint={}, vid={"depth": 1.0}))
    assert request.depths == (0.5, 1.0), "each depth once, shallow first"
    assert not request.embedding


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_of_weight_0_requires_nothing_but_is_checked(name: str) -> None:
    idle = make(**{"kd": {}, name: {"weight": 0.0}})
    assert resolve_losses(idle) == (() if name == "kd" else resolve_losses(make(kd={})))
    assert required_outputs(idle) == OutputRequest()
    assert not uses_teacher_head(idle)
    with pytest.raises(ConfigError) as caught:
        resolve_losses(make(**{name: {"weight": 0.0, "nonsense": 1.0}}))
    assert (caught.value.code, caught.value.field) == (
        "losses.parameter_unknown",
        f"recipe.losses.{name}.nonsense",
    )


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_resolved_loss_describes_its_entry(name: str) -> None:
    (resolved,) = resolve_losses(make(**{name: {}}))
    assert resolved.takes_embedding == (Need.EMBEDDING in resolved.entry.needs)
    assert (resolved.depth is not None) == (Need.FEATURES in resolved.entry.needs)
    assert resolved.weight == resolved.entry.defaults["weight"]
    assert uses_teacher_head(make(**{name: {}})) == resolved.entry.uses_teacher_head


@pytest.mark.parametrize(
    ("recipe", "code", "field"),
    [
        (make(hint={"depth": 0.0}), "parameter_out_of_range", "losses.hint.depth"),
        (make(kd={"depth": 0.5}), "parameter_unknown", "losses.kd.depth"),
        (make({"teacher_until": 0.5}, kd={"weight": 0.0}), "adaptation_without_loss", "adaptive.teacher_until"),
        (make({"teacher_until": 0.5}), "adaptation_without_loss", "adaptive.teacher_until"),
        (make({"temperature_schedule": "linear"}, rkd={}), "temperature_missing", "adaptive.temperature_schedule"),
        (
            make({"temperature_schedule": "linear", "teacher_patience": 2}, kd={}),
            "patience_with_temperature_schedule",
            "adaptive.teacher_patience",
        ),
        (make({"release": True}, kd={}, sp={}), "release_needs_logit_losses", "adaptive.release"),
        (
            make({"release": True}, kd={}).model_copy(update={"mix": "mixup"}),
            "release_with_mixing",
            "adaptive.release",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_errors(recipe: Recipe, code: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        required_outputs(recipe)
    assert (caught.value.code, caught.value.field) == (f"losses.{code}", f"recipe.{field}")
