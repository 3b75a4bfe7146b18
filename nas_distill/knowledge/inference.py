"""Run the teacher: in batches that fit the device's memory, with checks of its outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.errors import TeacherError
from nas_distill.knowledge.encoding import check_range
from nas_distill.model_outputs import ModelOutputs, OutputRequest
from nas_distill.models.memory import is_out_of_memory
from nas_distill.models.teacher import Teacher

# Input pixels per batch (on a CPU, per thread) and largest batch. On a CPU, larger batches do not fit its caches and
# are slower; a GPU needs them to be busy.
_PIXELS = {"cpu": 2**16, "cuda": 2**23}
_MAX_BATCH = {"cpu": 512, "cuda": 2048}
_MIN_BATCH = 16

_DETERMINISM_TOLERANCE = 2.0**-11
"""Largest difference between two runs on the same batch, relative to the largest logit: the rounding of float16."""


class TeacherInference:
    """Runs a teacher on images that are on its device.

    Args:
        teacher: Teacher; moved to `device`.
        device: Device to run on.
        embeddings: Whether to return embeddings too.

    Attributes:
        teacher: The teacher.
        device: The device.
        batch_size: Recommended number of images per call. If the device runs out of memory, later calls process the
            images in smaller parts.
    """

    def __init__(self, teacher: Teacher, device: torch.device, *, embeddings: bool) -> None:
        self.teacher = teacher.to_device(device)
        self.device = device
        self.batch_size = _default_batch_size(teacher.image_size, device)
        self._part_size = self.batch_size
        self._request = OutputRequest(embedding=embeddings)

    def outputs(self, images: Tensor) -> ModelOutputs:
        """Return the teacher's outputs.

        Args:
            images: Images, uint8 [B, C, H, W].

        Raises:
            TeacherError: A logit is NaN, infinite or beyond float16, or the memory does not suffice for one image.
        """
        while True:
            try:
                parts = [self.teacher.outputs(part, self._request) for part in torch.split(images, self._part_size)]
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self._part_size == 1:
                    raise TeacherError(
                        f"{self.device} has no memory for {self.teacher.architecture} and one image of "
                        f"{self.teacher.image_size} pixels; free memory or use a smaller teacher.image_size",
                        code="knowledge.out_of_memory",
                        field="teacher.model",
                    ) from error
            # Outside the handler, which still references the tensors of the failed pass.
            self._part_size = max(1, self._part_size // 2)
            torch.cuda.empty_cache()
        logits = torch.cat([part.logits for part in parts])
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        return ModelOutputs(check_range(logits, "a logit"), torch.cat(embeddings) if embeddings else None)

    def check_deterministic(self, images: Tensor) -> None:
        """Run the teacher twice on the same batch and compare the logits.

        Args:
            images: Images, uint8 [B, C, H, W].

        Raises:
            TeacherError: The logits differ by more than the rounding of float16.
        """
        first, second = self.outputs(images).logits, self.outputs(images).logits
        difference = (first - second).abs().max().item()
        if difference > _DETERMINISM_TOLERANCE * max(1.0, first.abs().max().item()):
            raise TeacherError(
                f"{self.teacher.architecture} returned different logits for the same {len(images)} images (by up to "
                f"{difference:.2g}), so its outputs cannot be stored; use a teacher without randomness in eval mode "
                "(dropout, noise, sampling)",
                code="knowledge.not_deterministic",
                field="teacher.model",
            )

    def embedding_size(self, images: Tensor) -> int:
        """Return the width of the embeddings, or 0 if none are requested.

        Args:
            images: Images to try, uint8 [B, C, H, W].

        Raises:
            TeacherError: The teacher has no embedding from which its classifier computes the logits.
        """
        if not self._request.embedding:
            return 0
        (size,) = self.teacher.check_outputs(images, self._request).embedding or (0,)
        return size


def _default_batch_size(image_size: int, device: torch.device) -> int:
    kind, threads = ("cuda", 1) if device.type == "cuda" else ("cpu", torch.get_num_threads())
    return max(_MIN_BATCH, min(_MAX_BATCH[kind], threads * _PIXELS[kind] // image_size**2))
