"""Versions of everything that took part in an export."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from nas_distill.version import __version__

_PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "onnxscript")


def versions() -> dict[str, str]:
    """Return the version of each installed package, and `commit` if nas_distill runs from a git checkout."""
    found = {"nas_distill": __version__}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    folder = Path(__file__).parents[2]
    if (folder / ".git").exists():
        with suppress(OSError, subprocess.SubprocessError):
            command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
            found["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - a fixed command
    return found
