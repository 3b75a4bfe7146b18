"""What a recipe asks of its losses."""

from __future__ import annotations

from typing import Any

import pytest

from nas_distill.errors import ConfigError
from nas_distill.losses.registry import LOSSES, Need, required_outputs, resolve_losses, uses_teacher_head
from nas_distill.model_outputs import OutputRequest
from nas_distill.records.recipe import Adaptation, Recipe


def make(adaptive: dict[str, Any] | None = None, **losses: dict[str, float]) -> Recipe:
    return Recipe(losses=losses, label_weight=1.0, adaptive=Adaptation(**(adaptive or {})))


def test_logits_are_always_there_and_the_rest_is_asked_for() -> None:
    assert not required_outputs(make(kd={}, dkd={})).more_than_logits
    assert required_outputs(make(rkd={})).embedding
    request = required_outputs(make(at={"depth": 1.0}, hint={}, vid={"depth": 1.0}))
    assert request.depths == (0.5, 1.0), "each depth once, shallow first"
    assert not request.embedding


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_of_weight_0_asks_for_nothing(name: str) -> None:
    idle = make(**{"kd": {}, name: {"weight": 0.0}})
    assert resolve_losses(idle) == (() if name == "kd" else resolve_losses(make(kd={})))
    assert required_outputs(idle) == OutputRequest()
    assert not uses_teacher_head(idle)
    with pytest.raises(ConfigError, match=rf"recipe\.losses\.{name}\.nonsense: no such parameter"):
        resolve_losses(make(**{name: {"weight": 0.0, "nonsense": 1.0}}))


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_asks_for_what_it_needs(name: str) -> None:
    (asked,) = resolve_losses(make(**{name: {}}))
    assert asked.takes_embedding == (Need.EMBEDDING in asked.entry.needs)
    assert (asked.depth is not None) == (Need.FEATURES in asked.entry.needs)
    assert asked.weight == asked.entry.defaults["weight"]
    assert uses_teacher_head(make(**{name: {}})) == asked.entry.uses_teacher_head


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (make(hint={"depth": 0.0}), r"recipe\.losses\.hint\.depth: 0\.0 must be above 0, at most 1"),
        (make(kd={"depth": 0.5}), r"recipe\.losses\.kd\.depth: no such parameter"),
        (
            make({"teacher_until": 0.5}, kd={"weight": 0.0}),
            r"recipe\.adaptive\.teacher_until: .* has none with a weight",
        ),
        (make({"teacher_until": 0.5}), r"recipe\.adaptive\.teacher_until: it adapts the teacher's terms, .* has none"),
        (
            make({"temperature_schedule": "linear"}, rkd={}),
            r"temperature_schedule: linear needs a loss with a temperature, and rkd has none; take kd",
        ),
        (
            make({"temperature_schedule": "linear", "teacher_patience": 2}, kd={}),
            r"recipe\.adaptive\.teacher_patience: 2 waits .*temperature_schedule is linear\); take teacher_until",
        ),
        (
            make({"release": True}, kd={}, sp={}),
            r"recipe\.adaptive\.release: it weighs pulls on the logits, and sp has none; take losses of logits alone",
        ),
        (
            make({"release": True}, kd={}).model_copy(update={"mix": "mixup"}),
            r"recipe\.adaptive\.release: it needs images of one class, and recipe\.mix is mixup",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(recipe: Recipe, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        required_outputs(recipe)
