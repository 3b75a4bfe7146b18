"""The part of Optuna's trial that a search space uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class SpaceTrial(Protocol):
    """The trial that a search space receives: Optuna's define-by-run interface.

    `optuna.Trial` satisfies this protocol. Spaces are typed against it, so that they import neither Optuna nor the
    search.
    """

    @property
    def number(self) -> int:
        """Number of the trial, from 0."""
        ...

    @property
    def params(self) -> dict[str, Any]:
        """Values suggested so far, by name."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of `choices`."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return an integer between `low` and `high`, both included."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number between `low` and `high`, both included."""
        ...
