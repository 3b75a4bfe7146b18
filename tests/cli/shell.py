"""Runs the command line as users do: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


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
