"""Asking the teacher: in batches that fit, for finite answers, and the same ones twice."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.errors import TeacherError
from nas_distill.knowledge.encoding import check_range
from nas_distill.model_outputs import ModelOutputs, OutputRequest
from nas_distill.models.memory import is_out_of_memory
from nas_distill.models.teacher import Teacher

# Input pixels per batch (on a CPU: for each thread), and most images. On a CPU larger batches leave its caches and are
# slower; a GPU needs them to be busy.
_PIXELS = {"cpu": 2**16, "cuda": 2**23}
_LARGEST_BATCH = {"cpu": 512, "cuda": 2048}
_SMALLEST_BATCH = 16

_SAME = 2.0**-11
"""Largest difference between two answers to the same batch, relative to the largest logit: float16's own rounding, so
that no stored answer could tell them apart by more."""


class TeacherInference:
    """Asks a teacher about images that are on its device.

    Args:
        teacher: Settled on `device`.
        device: Where it answers.
        embeddings: Ask for embeddings too.

    Attributes:
        teacher: As given.
        device: As given.
        batch_size: Images to hand over at once. When the device's memory does not suffice, they are asked about in
            parts from then on.
    """

    def __init__(self, teacher: Teacher, device: torch.device, *, embeddings: bool) -> None:
        self.teacher = teacher.to_device(device)
        self.device = device
        self.batch_size = _fitting_batch(teacher.image_size, device)
        self._part = self.batch_size
        self._wanted = OutputRequest(embedding=embeddings)

    def outputs(self, images: Tensor) -> ModelOutputs:
        """Returns the answers to uint8 images [B, C, H, W].

        Raises:
            TeacherError: It answers NaN, infinities or numbers beyond float16, or has no memory for one image.
        """
        while True:
            try:
                parts = [self.teacher.outputs(part, self._wanted) for part in torch.split(images, self._part)]
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self._part == 1:
                    raise TeacherError(
                        f"teacher.model: {self.device} has no room for {self.teacher.architecture} and one image of "
                        f"{self.teacher.image_size} pixels; free its memory or use a smaller teacher.image_size"
                    ) from error
            # Outside the handler, which holds the failed pass's tensors.
            self._part = max(1, self._part // 2)
            torch.cuda.empty_cache()
        logits = torch.cat([part.logits for part in parts])
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        return ModelOutputs(check_range(logits, "a logit"), torch.cat(embeddings) if embeddings else None)

    def check_deterministic(self, images: Tensor) -> None:
        """Asks twice about the same batch.

        Raises:
            TeacherError: The answers differ.
        """
        first, second = self.outputs(images).logits, self.outputs(images).logits
        difference = (first - second).abs().max().item()
        if difference > _SAME * max(1.0, first.abs().max().item()):
            raise TeacherError(
                f"teacher.model: {self.teacher.architecture} answers the same {len(images)} images differently when "
                f"asked twice (logits by up to {difference:.2g}), so that its answers cannot be stored; use a teacher "
                "without randomness in eval mode (dropout, noise, sampling)"
            )

    def embedding_size(self, images: Tensor) -> int:
        """Returns the width of the embeddings that will be stored, 0 for none, after checking them on `images`.

        Raises:
            TeacherError: The teacher gives no embedding that leads to its logits.
        """
        if not self._wanted.embedding:
            return 0
        (size,) = self.teacher.check_outputs(images, self._wanted).embedding or (0,)
        return size


def _fitting_batch(image_size: int, device: torch.device) -> int:
    kind, threads = ("cuda", 1) if device.type == "cuda" else ("cpu", torch.get_num_threads())
    return max(_SMALLEST_BATCH, min(_LARGEST_BATCH[kind], threads * _PIXELS[kind] // image_size**2))
