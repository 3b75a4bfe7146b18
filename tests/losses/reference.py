"""Reads `kd_reference.json`: what the original authors' code answers, and the inputs it was asked with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

REFERENCE: dict[str, Any] = json.loads(Path(__file__).with_name("kd_reference.json").read_text(encoding="utf-8"))


def logits(name: str) -> tuple[Tensor, Tensor]:
    """Returns the student's and the teacher's logits of an input, float64 [B, C]."""
    described = REFERENCE["inputs"][name]
    rows, columns = described["shape"]
    names = {
        "sin": torch.sin,
        "cos": torch.cos,
        "i": torch.arange(rows, dtype=torch.float64)[:, None],
        "j": torch.arange(columns, dtype=torch.float64),
    }
    student, teacher = (
        torch.as_tensor(eval(described[whose], names), dtype=torch.float64).expand(rows, columns).clone()
        for whose in ("student", "teacher")
    )
    return student, teacher
