"""From logits to what is stored of them, and back.

Shapes: B images, C classes, k logits kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.errors import TeacherError
from nas_distill.knowledge.layout import Divergence, ShardShape, StorageErrors

FLOAT16_MAX = 65504.0
TEMPERATURES = (1.0, 4.0)


class TopLogits(NamedTuple):
    """The largest logits of each image, and the mass of the others.

    Attributes:
        logits: [B, k].
        classes: int64 [B, k].
        tail: float32 [B], logsumexp of the other C - k logits.
    """

    logits: Tensor
    classes: Tensor
    tail: Tensor


def keep_top(logits: Tensor, k: int) -> TopLogits:
    """Returns the `k` largest of the logits, float32 [B, C], with k < C."""
    top, classes = logits.topk(k, dim=1)
    tail = logits.scatter(1, classes, -math.inf).logsumexp(dim=1)
    return TopLogits(top, classes, tail)


def spread_tail(kept: TopLogits, num_classes: int) -> Tensor:
    """Returns logits float32 [B, C]: those kept, and the others with equal shares of the tail.

    At temperature 1 the kept classes have the teacher's own probabilities; at others the tail's mass is that of a
    flat tail.
    """
    even = kept.tail.float() - math.log(num_classes - kept.classes.shape[1])
    logits = even[:, None].repeat(1, num_classes)
    return logits.scatter_(1, kept.classes, kept.logits.float())


class ShardEncoder:
    """Turns the answers to one view into the rows of its arrays, and measures what that costs.

    Args:
        shape: What is stored.
        device: Where the answers are.
    """

    def __init__(self, shape: ShardShape, device: torch.device) -> None:
        self._shape = shape
        self._rounding = torch.zeros((), device=device)
        # Sums and largest values stay on the device: reading one per batch would make the host wait.
        self._sums = torch.zeros(len(TEMPERATURES), dtype=torch.float64, device=device)
        self._largest = torch.zeros(len(TEMPERATURES), device=device)
        self._count = 0

    def encode(self, logits: Tensor, embedding: Tensor | None) -> dict[str, NDArray[np.generic]]:
        """Returns the arrays' rows by name, on the CPU.

        Args:
            logits: float32 [B, C], finite and within float16.
            embedding: float32 [B, D], when embeddings are stored.

        Raises:
            TeacherError: The embedding holds NaN, infinities or numbers beyond float16.
        """
        self._count += len(logits)
        rows = self._top_rows(logits) if self._shape.top_k else {"logits": self._rounded(logits)}
        if self._shape.embedding_size:
            assert embedding is not None
            rows["embeddings"] = check_range(embedding, "an embedding").half()
        arrays = self._shape.arrays
        return {name: tensor.cpu().numpy().astype(arrays[name].dtype, copy=False) for name, tensor in rows.items()}

    def errors(self) -> StorageErrors:
        """Returns the errors over everything encoded so far."""
        means = (self._sums / max(1, self._count)).tolist()
        measured = zip(TEMPERATURES, means, self._largest.tolist(), strict=True)
        return StorageErrors(
            max_rounding=self._rounding.item(),
            divergence=tuple(
                Divergence(temperature=temperature, mean_nats=mean, max_nats=largest)
                for temperature, mean, largest in measured
            )
            if self._shape.top_k
            else (),
        )

    def _rounded(self, logits: Tensor) -> Tensor:
        stored = logits.half()
        self._rounding = torch.maximum(self._rounding, (stored.float() - logits).abs().max())
        return stored

    def _top_rows(self, logits: Tensor) -> dict[str, Tensor]:
        exact = keep_top(logits, self._shape.top_k)
        kept = exact._replace(logits=self._rounded(exact.logits))
        rebuilt = spread_tail(kept, self._shape.num_classes)
        for number, temperature in enumerate(TEMPERATURES):
            divergence = _divergence(logits / temperature, rebuilt / temperature)
            self._sums[number] += divergence.sum(dtype=torch.float64)
            self._largest[number] = torch.maximum(self._largest[number], divergence.max())
        return {"top_logits": kept.logits, "top_classes": kept.classes, "tail": kept.tail}


def check_range(answers: Tensor, what: str) -> Tensor:
    """Returns `answers`.

    Raises:
        TeacherError: They hold NaN, infinities or numbers beyond float16.
    """
    largest = answers.abs().max().item()
    if not largest <= FLOAT16_MAX:
        raise TeacherError(
            f"teacher.model: the teacher answered {largest} for {what}; finite values up to {FLOAT16_MAX:.0f} "
            "are needed (is its normalisation the one it was trained with?)"
        )
    return answers


def _divergence(teacher: Tensor, stored: Tensor) -> Tensor:
    """Returns KL(softmax(teacher) || softmax(stored)), float32 [B]; rounding below zero is zero."""
    expected = teacher.log_softmax(dim=1)
    difference = stored.log_softmax(dim=1).neg_().add_(expected)
    return expected.exp_().mul_(difference).sum(dim=1).clamp_(min=0.0)
