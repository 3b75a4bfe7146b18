"""`TeacherTerm`: the factor of the teacher losses in each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nas_distill.losses.schedules import scheduled_value
from nas_distill.records.recipe import Adaptation

_IMPROVEMENT = 0.01
"""Smallest relative improvement: by this share of the best value."""
_ROUNDING = 1e-9


class TeacherTerm:
    """The schedule of the teacher's weight, and the epoch after which the teacher is no longer used.

    The teacher is dropped for the rest of the training by `teacher_until` or `teacher_patience`, whichever comes first;
    without them, never.

    Args:
        adaptive: Adaptation settings of the recipe.
        epochs: Number of epochs of the recipe.
    """

    def __init__(self, adaptive: Adaptation, epochs: int) -> None:
        self._adaptive = adaptive
        self._epochs = epochs
        # In floating point, 0.07 times 100 is above 7.
        self._until = max(1, math.ceil(adaptive.teacher_until * epochs - _ROUNDING))
        self._done = 0
        self._best: float | None = None
        self._best_at = 0
        self._ended_at: int | None = None

    def factor(self, epoch: int) -> float:
        """Return the factor of the weights of all teacher losses in an epoch, 0 to 1; 0 once the teacher is dropped.

        Args:
            epoch: Epoch, counted from 0, at most the one that is trained next.
        """
        if epoch >= self._until or (self._ended_at is not None and epoch >= self._ended_at):
            return 0.0
        return scheduled_value(self._adaptive.weight_schedule, 1.0, self._adaptive.weight_end, epoch, self._epochs)

    def epoch_done(self, teacher_loss: float) -> None:
        """Record the teacher losses of an epoch, and drop the teacher on a plateau. Called after every epoch.

        A plateau is `teacher_patience` epochs in a row without a fall by a hundredth of the best value. Slow progress
        over several epochs adds up to such a fall.

        Args:
            teacher_loss: Sum of the teacher losses times the weights of the recipe, mean over the epoch. It does not
                contain `factor`, whose schedule would look like progress. Ignored once the teacher is dropped.
        """
        self._done += 1
        if self._best is None or teacher_loss < self._best - _IMPROVEMENT * abs(self._best):
            self._best, self._best_at = teacher_loss, self._done
        patience = self._adaptive.teacher_patience
        if self._ended_at is None and 0 < patience <= self._done - self._best_at:
            self._ended_at = self._done

    def state(self) -> dict[str, Any]:
        """Return everything that changes during training, as JSON values."""
        return {"done": self._done, "best": self._best, "best_at": self._best_at, "ended_at": self._ended_at}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`.

        Raises:
            KeyError: The state is not one of `TeacherTerm`.
        """
        self._done, self._best_at = int(state["done"]), int(state["best_at"])
        self._best = None if state["best"] is None else float(state["best"])
        self._ended_at = None if state["ended_at"] is None else int(state["ended_at"])
