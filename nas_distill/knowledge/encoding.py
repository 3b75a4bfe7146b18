"""Convert the teacher's outputs to the stored arrays, and top-k logits back to full logits.

Shapes: B images, C classes, k stored logits, D embedding dimensions.
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
    """The largest logits of each image, and the combined mass of the others.

    Attributes:
        logits: The k largest logits, [B, k].
        classes: Their classes, int64 [B, k].
        tail: logsumexp of the other C - k logits, float32 [B].
    """

    logits: Tensor
    classes: Tensor
    tail: Tensor


def keep_top(logits: Tensor, k: int) -> TopLogits:
    """Return the `k` largest of the logits, float32 [B, C], with k < C."""
    top, classes = logits.topk(k, dim=1)
    tail = logits.scatter(1, classes, -math.inf).logsumexp(dim=1)
    return TopLogits(top, classes, tail)


def spread_tail(stored: TopLogits, num_classes: int) -> Tensor:
    """Return full logits, float32 [B, C]: the stored ones, and equal shares of the tail for all other classes.

    At temperature 1 the stored classes have the teacher's probabilities. At other temperatures the mass of the tail is
    that of a uniform tail.
    """
    uniform = stored.tail.float() - math.log(num_classes - stored.classes.shape[1])
    logits = uniform[:, None].repeat(1, num_classes)
    return logits.scatter_(1, stored.classes, stored.logits.float())


class ShardEncoder:
    """Converts the outputs for one view to rows of the stored arrays, and measures the storage errors.

    Args:
        shape: Shapes of the stored arrays.
        device: Device of the outputs.
    """

    def __init__(self, shape: ShardShape, device: torch.device) -> None:
        self._shape = shape
        self._rounding = torch.zeros((), device=device)
        # Kept on the device: reading a value per batch would make the host wait for the device.
        self._sums = torch.zeros(len(TEMPERATURES), dtype=torch.float64, device=device)
        self._largest = torch.zeros(len(TEMPERATURES), device=device)
        self._count = 0

    def encode(self, logits: Tensor, embedding: Tensor | None) -> dict[str, NDArray[np.generic]]:
        """Return the next rows of each array by name, on the CPU.

        Args:
            logits: Logits, float32 [B, C], finite and in the range of float16.
            embedding: Embeddings, float32 [B, D], if they are stored.

        Raises:
            TeacherError: The embedding contains NaN, infinities or numbers beyond float16.
        """
        self._count += len(logits)
        rows = self._top_rows(logits) if self._shape.top_k else {"logits": self._round(logits)}
        if self._shape.embedding_size:
            assert embedding is not None
            rows["embeddings"] = check_range(embedding, "an embedding").half()
        arrays = self._shape.arrays
        return {name: tensor.cpu().numpy().astype(arrays[name].dtype, copy=False) for name, tensor in rows.items()}

    def errors(self) -> StorageErrors:
        """Return the storage errors over everything encoded so far."""
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

    def _round(self, logits: Tensor) -> Tensor:
        stored = logits.half()
        self._rounding = torch.maximum(self._rounding, (stored.float() - logits).abs().max())
        return stored

    def _top_rows(self, logits: Tensor) -> dict[str, Tensor]:
        exact = keep_top(logits, self._shape.top_k)
        stored = exact._replace(logits=self._round(exact.logits))
        restored = spread_tail(stored, self._shape.num_classes)
        for number, temperature in enumerate(TEMPERATURES):
            divergence = _divergence(logits / temperature, restored / temperature)
            self._sums[number] += divergence.sum(dtype=torch.float64)
            self._largest[number] = torch.maximum(self._largest[number], divergence.max())
        return {"top_logits": stored.logits, "top_classes": stored.classes, "tail": stored.tail}


def check_range(outputs: Tensor, what: str) -> Tensor:
    """Return `outputs` after checking their range.

    Args:
        outputs: Outputs of the teacher.
        what: Name of one value for the error message, such as "a logit".

    Raises:
        TeacherError: The outputs contain NaN, infinities or numbers beyond float16.
    """
    largest = outputs.abs().max().item()
    if not largest <= FLOAT16_MAX:
        raise TeacherError(
            f"the teacher returned {largest} for {what}; values must be finite and at most {FLOAT16_MAX:.0f} (does its "
            "normalisation match its training?)",
            code="knowledge.output_out_of_range",
            field="teacher.model",
        )
    return outputs


def _divergence(teacher: Tensor, stored: Tensor) -> Tensor:
    """Return KL(softmax(teacher) || softmax(stored)), float32 [B]; values that rounding makes negative become 0."""
    expected = teacher.log_softmax(dim=1)
    difference = stored.log_softmax(dim=1).neg_().add_(expected)
    return expected.exp_().mul_(difference).sum(dim=1).clamp_(min=0.0)
