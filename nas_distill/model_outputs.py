"""What distillation compares: what a network says of a batch, at its end and on the way there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Shape = tuple[int, ...]
"""Of one image's features, without the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """Which signals are wanted besides the logits.

    Attributes:
        embedding: The penultimate embedding.
        depths: Of each feature map, the share of the network's stages after which it is taken: above 0, 1 is the map
            that the classifier pools.
    """

    embedding: bool = False
    depths: tuple[float, ...] = ()

    @property
    def more_than_logits(self) -> bool:
        """Whether anything is wanted."""
        return self.embedding or bool(self.depths)


class ModelOutputs(NamedTuple):
    """Of B images.

    Attributes:
        logits: [B, C].
        embedding: [B, D]; None when it is not wanted.
        maps: Feature maps [B, C, H, W], as many as `OutputRequest.depths`, in that order.
    """

    logits: Tensor
    embedding: Tensor | None = None
    maps: tuple[Tensor, ...] = ()


class OutputShapes(NamedTuple):
    """Shapes of a network's signals for one image.

    Attributes:
        embedding: (D,); None when it is not wanted.
        maps: (C, H, W) of each map.
    """

    embedding: Shape | None = None
    maps: tuple[Shape, ...] = ()
