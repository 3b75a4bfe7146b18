"""One optimiser step. A batch that does not fit into memory is processed in parts whose gradients are summed.

The gradients of the network and of each loss's learned part are clipped separately, each to the recipe's
`gradient_clip_norm`. Without clipping, the step of a learned part grows with the weight of its loss: the gradient norm
of hint's regressor starts at about 25 times the default on the digits. With one common norm, as in many training
scripts, parameters that are discarded after training would shorten the student's steps. So would CTKD's temperature,
which is trained adversarially to the student.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas_distill.data.views.batches import ViewBatch
from nas_distill.errors import TrialError
from nas_distill.knowledge.targets import Targets
from nas_distill.losses.registry import DistillationLoss
from nas_distill.models.features import network_outputs
from nas_distill.models.memory import is_out_of_memory
from nas_distill.models.preprocess import Preprocess
from nas_distill.records import ExecutionSettings, Recipe
from nas_distill.train.execution import autocast, torch_memory_format
from nas_distill.train.optimisation import Average

_LEAST_PART = 3
"""Smallest part of a batch. Batch normalisation cannot train on 1 image, and with parts of 2 one part could have 1."""


class Stepper:
    """Takes the optimiser steps of one training.

    Args:
        network: Network in training mode on its device.
        loss: Loss to minimise.
        optimizer: Optimiser of the network and the learned parts of the loss.
        average: Moving average of the network; None without one.
        preprocess: Conversion from uint8 images to network inputs.
        targets: The teacher's outputs for the views; None if the loss never uses a teacher.
        recipe: Recipe whose `gradient_clip_norm` is used.
        execution: Precision, memory format, attention and micro-batch size.
        device: Device of the network.

    Attributes:
        execution: Current settings. When the memory is too small, `micro_batch_size` is halved as often as needed.
            Losses and batch normalisation are computed on the parts, not on the whole batch.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: DistillationLoss,
        optimizer: Optimizer,
        average: Average | None,
        preprocess: Preprocess,
        targets: Targets | None,
        recipe: Recipe,
        execution: ExecutionSettings,
        device: torch.device,
    ) -> None:
        self._network = network
        self._clipped = [list(network.parameters()), *loss.learned_parameters()]
        self._loss = loss
        self._optimizer = optimizer
        self._average = average
        self._preprocess = preprocess
        self._targets = targets
        self._clip_norm = recipe.gradient_clip_norm
        self._device = device
        self.execution = execution

    def step(self, number: int, batch: ViewBatch, view: int) -> dict[str, Tensor]:
        """Take one step and return the loss parts, scalars on the device.

        Args:
            number: Number of the step in the training, from 0.
            batch: Batch to train on.
            view: View of the images in the batch.

        Raises:
            TrialError: The memory is too small for the smallest part of a batch.
        """
        parts = self._gradient(batch, view)
        if self._clip_norm > 0:
            for parameters in self._clipped:
                nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._network, step=number)
        return parts

    def _gradient(self, batch: ViewBatch, view: int) -> dict[str, Tensor]:
        """Compute the gradients of a batch and return the loss parts."""
        while True:
            try:
                self._optimizer.zero_grad(set_to_none=True)
                return self._accumulate(batch, view)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Outside the handler, because the error holds the tensors of the failed pass.
            self._halve(len(batch.indices), reason)

    def _accumulate(self, batch: ViewBatch, view: int) -> dict[str, Tensor]:
        count = len(batch.indices)
        num_parts = math.ceil(count / (self.execution.micro_batch_size or count))
        if num_parts == 1:
            parts = self._losses(batch, view)
            parts["total"].backward()  # type: ignore[no-untyped-call]
            return {name: part.detach() for name, part in parts.items()}
        sums: dict[str, Tensor] = {}
        for part_of_batch in zip(*(field.tensor_split(num_parts) for field in batch), strict=True):
            share = len(part_of_batch[0]) / count
            parts = {name: share * part for name, part in self._losses(ViewBatch(*part_of_batch), view).items()}
            parts["total"].backward()  # type: ignore[no-untyped-call]
            sums = {name: sums.get(name, 0.0) + part.detach() for name, part in parts.items()}
        return sums

    def _losses(self, batch: ViewBatch, view: int) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=torch_memory_format(self.execution))
        request = self._loss.required_outputs
        with autocast(self.execution, self._device):
            student = network_outputs(self._network, self._preprocess(images), request)
        teacher = None
        if self._loss.uses_teacher:
            assert self._targets is not None
            teacher = self._targets.outputs(view, batch.indices, batch.images, request)
        parts: dict[str, Tensor] = self._loss(student, teacher, batch.targets)
        return parts

    def _halve(self, count: int, reason: str) -> None:
        size = min(self.execution.micro_batch_size or count, count)
        if size <= _LEAST_PART:
            raise TrialError(
                f"the memory is too small for a batch of {_LEAST_PART} images ({reason}); use smaller networks or "
                "images, or a device with more memory",
                code="train.out_of_memory",
            )
        self.execution = self.execution.model_copy(update={"micro_batch_size": max(_LEAST_PART, math.ceil(size / 2))})
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
