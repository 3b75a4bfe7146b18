"""Workers that die or are refused, in a module of their own: Ray's processes import it, and it imports little."""

from __future__ import annotations

import os

from nas_distill.errors import NasDistillError, TeacherError


class Mortal:
    """Dies when it is given one of the views `deadly`, or at once."""

    def __init__(self, deadly: list[int], *, stillborn: bool = False) -> None:
        self._deadly = deadly
        self._stillborn = stillborn

    def open(self) -> None:
        if self._stillborn:
            os._exit(1)

    def write(self, view: int) -> None:
        if view in self._deadly:
            os._exit(1)


class Rejecting:
    """Returns an error from one of its methods, as a worker does with what a user could cause."""

    def __init__(self, rejected: str) -> None:
        self._rejected = rejected

    def open(self) -> NasDistillError | None:
        return TeacherError("teacher.model: gone") if self._rejected == "open" else None

    def write(self, view: int) -> NasDistillError | None:
        del view
        return TeacherError("teacher.model: gone") if self._rejected == "write" else None
