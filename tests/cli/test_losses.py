from __future__ import annotations

import re

import pytest

from nas_distill.cli import main
from nas_distill.config.parsing.yaml_text import parse_yaml
from nas_distill.errors import ConfigError
from nas_distill.losses.registry import LOSSES, Need, resolve_losses
from nas_distill.records import Recipe
from tests.cli.shell import error_of

NAMES = ["none", *LOSSES.names()]


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["losses", *arguments]) == 0
    return capsys.readouterr().out


def test_list_is_a_table_of_name_needs_and_paper(capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = output(capsys, "list").splitlines()
    assert header.split() == ["name", "needs", "paper"]
    assert [row.split()[0] for row in rows] == NAMES
    for row in rows[1:]:
        name, needs, paper = re.split(r"  +", row)
        assert set(needs.split(", ")) == set(LOSSES.get(name).needs)
        assert paper == LOSSES.get(name).paper


def test_show_prints_everything_about_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    for name in LOSSES.names():
        entry, shown = LOSSES.get(name), output(capsys, "show", name)
        lines = shown.splitlines()
        assert lines[0] == f"{name}: {entry.equation}"
        assert entry.paper in shown
        for need in entry.needs:
            assert need.meaning in shown
        assert ("requires teacher.online=true" in shown) == (Need.FEATURES in entry.needs)
        assert ("requires teacher.embeddings=true" in shown) == (Need.EMBEDDING in entry.needs)
        assert ("cannot be used with --recipe search" in shown) == entry.uses_teacher_head
        start = next(number for number, line in enumerate(lines) if line.startswith("parameter "))
        assert re.split(r"  +", lines[start]) == ["parameter", "default", "must be", "meaning"]
        shown_parameters = [re.split(r"  +", line) for line in lines[start + 1 :]]
        assert [row[0] for row in shown_parameters] == list(entry.defaults)
        for parameter, default, rule, meaning in shown_parameters:
            assert float(default) == entry.defaults[parameter]
            assert rule == entry.rules[parameter].text
            assert meaning.endswith(".")


def test_the_example_is_a_valid_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        shown = output(capsys, "show", name)
        example = re.search(r"--set 'recipe\.losses=(.*)' --set recipe\.label_weight=(.*)", shown)
        assert example is not None
        recipe = Recipe(losses=parse_yaml(example[1], origin="docs")[0], label_weight=float(example[2]))
        assert list(recipe.losses) == ([] if name == "none" else [name])
        assert [loss.name for loss in resolve_losses(recipe)] == list(recipe.losses)


def test_depth_is_among_the_parameters_of_losses_of_feature_maps(capsys: pytest.CaptureFixture[str]) -> None:
    with_depth = {name for name in LOSSES.names() if re.search(r"^depth ", output(capsys, "show", name), re.MULTILINE)}
    assert with_depth == {"at", "hint", "vid"}


def test_an_unknown_loss_is_an_error_with_the_nearest_name() -> None:
    error = error_of("losses", "show", "hinton")
    assert isinstance(error, ConfigError)
    assert (error.code, error.field) == ("cli.unknown_loss", "NAME")
    assert "'hint'" in str(error)
    assert all(name in str(error) for name in NAMES)


def test_a_call_without_a_verb_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "list" in output(capsys)
