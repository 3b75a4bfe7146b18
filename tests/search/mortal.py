"""Workers with faults, in a module of their own: Ray's processes import it, and it imports little."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nas_distill.errors import TeacherError


@dataclass
class FaultyWorker:
    """A worker that returns the id of its process, and has a fault at a known item.

    Attributes:
        folder: Where each attempt to run an item leaves a file.
        deaths: Item -> how often the process dies when it runs this item.
        bugs: Items that raise a KeyError.
        rejected: Where a user error is raised: "open", or "run"; None for nowhere.
    """

    folder: Path
    deaths: dict[int, int]
    bugs: tuple[int, ...] = ()
    rejected: str | None = None

    def open(self) -> None:
        if self.rejected == "open":
            raise TeacherError("gone", field="teacher.model")

    def run(self, item: int) -> int:
        attempts = self.attempts(item)
        (self.folder / f"{item}-{attempts}").touch()
        if attempts < self.deaths.get(item, 0):
            os._exit(1)
        if item in self.bugs:
            raise KeyError("no such column")
        if self.rejected == "run":
            raise TeacherError("gone", field="teacher.model")
        return os.getpid()

    def attempts(self, item: int) -> int:
        """Return how often the item has been run so far."""
        return len(list(self.folder.glob(f"{item}-*")))
