"""A worker that dies, in a module of its own: Ray's processes import it, and it imports next to nothing."""

from __future__ import annotations

import os


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
