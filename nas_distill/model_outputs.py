"""The outputs of a network that losses compare: logits, embedding and feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Shape = tuple[int, ...]
"""Shape of one image's features, without the batch dimension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """The outputs that a forward pass should return besides the logits.

    Attributes:
        embedding: Whether to return the penultimate embedding.
        depths: Depth of each requested feature map: the share of the network's stages before it, above 0; 1 is the map
            that is pooled for the classifier.
    """

    embedding: bool = False
    depths: tuple[float, ...] = ()

    @property
    def more_than_logits(self) -> bool:
        """Whether anything besides the logits is requested."""
        return self.embedding or bool(self.depths)


class ModelOutputs(NamedTuple):
    """Outputs of a network for a batch of B images.

    Attributes:
        logits: Logits, [B, C].
        embedding: Penultimate embedding, [B, D]; None if it was not requested.
        maps: Feature maps, each [B, C, H, W], in the order of `OutputRequest.depths`.
    """

    logits: Tensor
    embedding: Tensor | None = None
    maps: tuple[Tensor, ...] = ()


class OutputShapes(NamedTuple):
    """Shapes of a network's outputs for one image.

    Attributes:
        embedding: Shape of the embedding, (D,); None if it was not requested.
        maps: Shape of each feature map, (C, H, W).
    """

    embedding: Shape | None = None
    maps: tuple[Shape, ...] = ()
