"""What the tests of `prepare_data` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas_distill.callbacks import NullProgress, SearchStatus
from nas_distill.config import DataConfig


class Recorder(NullProgress):
    """Records events and steps."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.steps: list[tuple[str, int, int]] = []

    def event(self, kind: str, message: str) -> None:
        self.events.append((kind, message))

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        self.steps.append((task, done, total))

    def status(self, status: SearchStatus) -> None:
        raise AssertionError("preparing data has no search status")


def folder_config(root: Path, **changes: Any) -> DataConfig:
    return DataConfig(source=f"folder:{root}", **changes)
