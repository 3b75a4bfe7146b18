"""What flags that verbs share show and take."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.cli import confirm, search
from nas_distill.cli.options import RESOURCE_FLAGS


def test_confirm_shows_no_default_but_the_runs() -> None:
    assert {flag.default for flag in confirm.FLAGS} == {"the run's"}
    assert [flag.key for flag in confirm.FLAGS] == [flag.key for flag in RESOURCE_FLAGS]
    (help_of_resume,) = [
        one.help for one in search.command.params if isinstance(one, click.Option) and "--resume" in one.opts
    ]
    assert help_of_resume is not None
    assert "whose own values hold" in help_of_resume


def test_a_time_budget_has_a_unit_on_the_command_line_and_needs_none_in_a_file(tmp_path: Path) -> None:
    for text, seconds in (("8h", 28_800.0), ("1h30m", 5_400.0), ("8s", 8.0)):
        given = search.command.make_context("search", ["--time-budget", text]).params
        parameters = {flag.parameter: given[flag.parameter] for flag in search.FLAGS}
        assert search._config(None, (), parameters).budget.time_s == seconds
    (tmp_path / "search.yaml").write_text("budget: {time_s: 8}\n")
    parameters = {flag.parameter: None for flag in search.FLAGS}
    assert search._config(str(tmp_path / "search.yaml"), (), parameters).budget.time_s == 8.0
