"""Options of a cut; `benchmarks/initial_weights` compares them and decided the defaults."""

from __future__ import annotations

from typing import Literal

from nas_distill.records.base import Record

Layers = Literal["first", "even"]
Channels = Literal["even", "norm"]
DroppedInputs = Literal["ignore", "rescale", "reconstruct"]


class CutOptions(Record):
    """How a student's initial weights are cut from its teacher's.

    Attributes:
        layers: Which of the teacher's blocks a shorter stage takes: the "first" ones (Xu et al. 2024, arXiv
            2311.18823), or "even" ones, spread from the first to the last.
        channels: Which channels a narrower student takes: "even" ones, or those with the largest "norm" of their
            weights, which needs torch-pruning.
        dropped_inputs: What replaces the input channels that the student lacks: nothing ("ignore"); larger weights of
            the others ("rescale": by the square root of the ratio of channels, which keeps the variance of independent
            inputs); or a least-squares fit of each layer to its inputs in the student ("reconstruct").
        recompute_batch_norm: Whether the statistics of batch normalisation are measured on a few images, as
            "reconstruct" always does; if not, they are the teacher's.
    """

    layers: Layers = "first"
    channels: Channels = "even"
    dropped_inputs: DroppedInputs = "reconstruct"
    recompute_batch_norm: bool = True

    @property
    def need_images(self) -> bool:
        """Whether the cut runs networks on images."""
        return self.recompute_batch_norm or self.dropped_inputs == "reconstruct" or self.channels != "even"
