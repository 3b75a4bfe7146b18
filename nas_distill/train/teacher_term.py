"""`TeacherTerm`: whether and how much the teacher's terms count in an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nas_distill.losses.schedules import scheduled_value
from nas_distill.records.recipe import Adaptation

_FALL = 0.01
"""What counts as falling: by this share of the value that fell last."""
_ROUNDING = 1e-9


class TeacherTerm:
    """The course of the teacher's weight, and the end of its terms.

    Without `teacher_until` and `teacher_patience` they do not end. Whichever of the two comes first ends them for
    good.

    Args:
        adaptive: The recipe's.
        epochs: The recipe's full fidelity.
    """

    def __init__(self, adaptive: Adaptation, epochs: int) -> None:
        self._adaptive = adaptive
        self._epochs = epochs
        # 0.07 times 100 is above 7 by rounding.
        self._until = max(1, math.ceil(adaptive.teacher_until * epochs - _ROUNDING))
        self._done = 0
        self._best: float | None = None
        self._best_at = 0
        self._ended_at: int | None = None

    def factor(self, epoch: int) -> float:
        """Return what the weights of all teacher terms are multiplied by in `epoch`, 0 to 1; 0 once they ended.

        Args:
            epoch: From 0, not beyond the one that is trained next.
        """
        if epoch >= self._until or (self._ended_at is not None and epoch >= self._ended_at):
            return 0.0
        return scheduled_value(self._adaptive.weight_schedule, 1.0, self._adaptive.weight_end, epoch, self._epochs)

    def epoch_done(self, teacher_loss: float) -> None:
        """Is told after every epoch what the teacher's terms came to, and ends them on a plateau.

        A plateau is `teacher_patience` epochs in a row in which the sum did not fall by a hundredth of its size,
        against the last value that did: slow progress adds up to a fall.

        Args:
            teacher_loss: The terms' sum, each times the recipe's own weight (not times `factor`, whose course would
                pass for progress), mean over the epoch's training images. Not looked at once the terms ended.
        """
        self._done += 1
        if self._best is None or teacher_loss < self._best - _FALL * abs(self._best):
            self._best, self._best_at = teacher_loss, self._done
        patience = self._adaptive.teacher_patience
        if self._ended_at is None and 0 < patience <= self._done - self._best_at:
            self._ended_at = self._done

    def state(self) -> dict[str, Any]:
        """Return everything that changes, JSON."""
        return {"done": self._done, "best": self._best, "best_at": self._best_at, "ended_at": self._ended_at}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a `state()`.

        Raises:
            KeyError: It is the state of something else.
        """
        self._done, self._best_at = int(state["done"]), int(state["best_at"])
        self._best = None if state["best"] is None else float(state["best"])
        self._ended_at = None if state["ended_at"] is None else int(state["ended_at"])
