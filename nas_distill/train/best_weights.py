"""Early stopping: the weights of the best epoch, and whether training should stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from nas_distill.train.metrics import SplitMetrics


class BestWeights:
    """Keeps the weights of the best epoch. Higher accuracy is better; the likelihood decides between equal accuracies.

    Args:
        patience: Epochs without improvement after which training stops. 0 turns early stopping off: no weights are
            kept, and the last epoch counts as the best.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._epoch = 0
        self._score = (-math.inf, -math.inf)
        self._weights: dict[str, Tensor] | None = None

    def is_exhausted(self, epochs_done: int) -> bool:
        """Return whether the last `patience` epochs brought no improvement."""
        return self._patience > 0 and epochs_done - self._epoch >= self._patience

    def update(self, epochs_done: int, metrics: SplitMetrics, network: nn.Module) -> None:
        """Copy the weights of `network` if it is better than the best so far.

        Args:
            epochs_done: Number of epochs that the network was trained.
            metrics: Metrics of the network on validation.
            network: Network that was measured.
        """
        score = (metrics.top1, -metrics.nll_nats)
        if self._patience > 0 and score > self._score:
            self._score, self._epoch = score, epochs_done
            self._weights = {name: value.clone() for name, value in network.state_dict().items()}

    def restore(self, epochs_done: int, network: nn.Module) -> None:
        """Load the best weights into `network`, unless it holds them already.

        Args:
            epochs_done: Number of epochs that the network was trained.
            network: Network that was measured in each epoch.
        """
        if self._weights is not None and self._epoch != epochs_done:
            network.load_state_dict(self._weights)

    def state(self) -> dict[str, Any]:
        """Return everything that changes, for `save_state`."""
        return {
            "epoch": self._epoch,
            "score": [None if math.isinf(value) else value for value in self._score],
            "weights": self._weights,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`.

        Raises:
            KeyError, ValueError: The state is not one of `BestWeights`.
        """
        top1, likelihood = (-math.inf if value is None else float(value) for value in state["score"])
        self._epoch, self._score, self._weights = int(state["epoch"]), (top1, likelihood), state["weights"]
