"""The commands that a decision names, filled in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_PROGRAM = "python -m nas_distill"


def confirm_command(run: str, numbers: Sequence[int], *, seeds: int | None = None) -> str:
    """Return the command that retrains students.

    Args:
        run: Run directory.
        numbers: Trial numbers.
        seeds: Number of seeds. Default: the command's own.
    """
    picks = ",".join(map(str, numbers))
    return f"{_PROGRAM} confirm {shlex.quote(run)} --picks {picks}{'' if seeds is None else f' --seeds {seeds}'}"


def export_command(run: str, number: int) -> str:
    """Return the command that exports a student."""
    return f"{_PROGRAM} export {shlex.quote(run)} {number}"


def longer_command(run: str, epochs: int) -> str:
    """Return the command that repeats a search with more epochs per student.

    Args:
        run: Run directory.
        epochs: Epochs per student.
    """
    config, out = (shlex.quote(f"{run.rstrip('/')}{end}") for end in ("/config.yaml", f"-{epochs}-epochs"))
    return f"{_PROGRAM} search --config {config} --epochs {epochs} --out {out}"
