"""Flags that several verbs share."""

from __future__ import annotations

from pathlib import Path

from nas_distill.cli import confirm, search
from nas_distill.cli.options import RESOURCE_FLAGS


def test_confirm_takes_its_resources_from_the_run_by_default() -> None:
    assert len({flag.default for flag in confirm.FLAGS}) == 1
    assert {flag.default for flag in confirm.FLAGS}.isdisjoint(flag.default for flag in RESOURCE_FLAGS)
    assert [flag.key for flag in confirm.FLAGS] == [flag.key for flag in RESOURCE_FLAGS]


def test_a_time_budget_has_a_unit_on_the_command_line_and_needs_none_in_a_file(tmp_path: Path) -> None:
    for text, seconds in (("8h", 28_800.0), ("1h30m", 5_400.0), ("8s", 8.0)):
        given = search.command.make_context("search", ["--time-budget", text]).params
        parameters = {flag.parameter: given[flag.parameter] for flag in search.FLAGS}
        assert search._config(None, (), parameters).budget.time_s == seconds
    (tmp_path / "search.yaml").write_text("budget: {time_s: 8}\n")
    parameters = {flag.parameter: None for flag in search.FLAGS}
    assert search._config(str(tmp_path / "search.yaml"), (), parameters).budget.time_s == 8.0
