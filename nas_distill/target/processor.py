"""Name of the processor that networks are measured on."""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import Path

import torch


def processor_name(device: str = "cpu") -> str:
    """Return the name of the machine's CPU, or of its first GPU for "cuda"."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown CPU"
