"""Options of a cut, each of which `benchmarks/initial_weights` compares."""

from __future__ import annotations

from typing import Literal

from nas_distill.records.base import Record

Layers = Literal["first", "even"]
DroppedInputs = Literal["ignore", "rescale", "reconstruct"]


class CutOptions(Record):
    """How a student's initial weights are cut from its teacher's.

    Attributes:
        layers: Which of the teacher's blocks a shorter stage takes: the "first" ones (Xu et al. 2024, arXiv
            2311.18823), or "even" ones, spread from the first to the last.
        dropped_inputs: What replaces the input channels that the student lacks: nothing ("ignore"); larger weights of
            the others ("rescale": by the square root of the ratio of channels, which keeps the variance of independent
            inputs); or a linear combination of the others ("reconstruct": least squares on a few images).
        recompute_batch_norm: Whether the statistics of batch normalisation are measured on a few images; if not, they
            are the teacher's.
    """

    layers: Layers = "first"
    dropped_inputs: DroppedInputs = "ignore"
    recompute_batch_norm: bool = False

    @property
    def need_images(self) -> bool:
        """Whether the cut runs networks on images."""
        return self.recompute_batch_norm or self.dropped_inputs == "reconstruct"
