"""Runs the command line: in a process of its own, as users do, or in this one to look at the error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from nas_distill.cli import command
from nas_distill.errors import NasDistillError


def run_cli(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nas_distill", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def error_of(*arguments: str | Path) -> NasDistillError:
    """Return the user error with which a command line ends."""
    with pytest.raises(NasDistillError) as caught:
        command.main([str(one) for one in arguments], standalone_mode=False)
    assert "\n" not in str(caught.value)
    return caught.value


def usage_error_of(*arguments: str) -> click.UsageError:
    """Return click's error about a command line."""
    with pytest.raises(click.UsageError) as caught:
        command.main(list(arguments), standalone_mode=False)
    return caught.value
