"""The loss registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas_distill.errors import ConfigError
from nas_distill.losses.entries import ABOVE_0, AT_LEAST_0, SWITCH
from nas_distill.losses.functional import dkd, kd
from nas_distill.losses.registry import LOSSES, LossRegistry, Need

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "losses.md"
EVERY = "at cc ctkd dist dkd hint kd mlkd nkd pkt rkd simkd sp vid wsld"


def test_the_names_of_the_shipped_losses() -> None:
    assert LOSSES.names() == tuple(EVERY.split())
    assert dict(LOSSES.get("kd").defaults) == {"weight": 0.9, "standardise": 0.0, "temperature": 2.0}


def test_the_inputs_of_the_shipped_losses() -> None:
    def needing(*needs: Need) -> str:
        return " ".join(name for name in LOSSES.names() if LOSSES.get(name).needs == {*needs})

    assert needing(Need.LOGITS) == "dist kd mlkd"
    assert needing(Need.LOGITS, Need.LABELS) == "dkd nkd wsld"
    assert needing(Need.LOGITS, Need.LEARNING) == "ctkd"
    assert needing(Need.EMBEDDING) == "cc pkt rkd sp"
    assert needing(Need.FEATURES) == "at simkd"
    assert needing(Need.FEATURES, Need.LEARNING) == "hint vid"
    assert [name for name in LOSSES.names() if LOSSES.get(name).uses_teacher_head] == ["simkd"]


def test_an_unknown_loss_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        LOSSES.get("dk")
    assert (caught.value.code, caught.value.field) == ("losses.unknown", "recipe.losses")
    assert "'dkd'" in str(caught.value)
    assert ", ".join(LOSSES.names()) in str(caught.value)


def test_parameters_and_defaults_come_from_the_signature() -> None:
    registry = LossRegistry()
    registry.register(
        "one", dkd, weight=2.0, needs={Need.LOGITS}, rules={"temperature": ABOVE_0}, equation="e", paper="p"
    )
    entry = registry.get("one")
    assert dict(entry.defaults) == {"weight": 2.0, "standardise": 0.0, "alpha": 1.0, "beta": 2.0, "temperature": 2.0}
    assert entry.rules["temperature"] is ABOVE_0
    assert entry.rules["standardise"] is SWITCH
    assert entry.rules["beta"] is AT_LEAST_0


def test_parameters_that_must_be_above_others_are_checked_together() -> None:
    vid = LOSSES.get("vid")
    assert vid.resolve({"variance": 0.2, "floor": 0.1})["variance"] == 0.2
    for given in ({"variance": 1e-6}, {"floor": 5.0}):
        with pytest.raises(ConfigError) as caught:
            vid.resolve(given)
        assert caught.value.code == "losses.parameter_out_of_range"
        assert caught.value.field == "recipe.losses.vid.variance"


def test_a_name_can_be_registered_only_once() -> None:
    registry = LossRegistry()

    def register() -> None:
        registry.register("one", kd, weight=1.0, needs={Need.LOGITS}, equation="e", paper="p")

    register()
    with pytest.raises(ValueError, match="'one'"):
        register()
    assert registry.names() == ("one",)


def test_the_documented_table_is_the_registry() -> None:
    table = DOCS.read_text(encoding="utf-8").partition("## The losses")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| .* \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == list(LOSSES.names())
    for name, needs, paper in rows:
        entry = LOSSES.get(name)
        assert set(needs.split(", ")) == set(entry.needs)
        assert paper.rpartition(" ")[2] == entry.paper.rpartition(" ")[2]
        assert paper.split()[0].rstrip(",") == entry.paper.split()[0].rstrip(",")
