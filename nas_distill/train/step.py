"""One optimiser step, whatever the memory: a batch that does not fit is passed in parts whose gradients are summed.

Gradients are clipped apart: the network's by its norm, that of each loss's learned part by its own, all to the recipe's
`gradient_clip_norm`. Unclipped, a learned part steps as far as its loss's weight throws it (hint's regressor starts at
about 25 times the default norm on the digits). Under one norm over all that the optimiser holds, as training scripts
have it, what is thrown away after training would shorten the student's steps, and CTKD's temperature, which is trained
against the student, would have a say in how far it goes.
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
"""Batch normalisation cannot be trained on a single image, and parts are nearly equal: with 2, one could be 1."""


class Stepper:
    """Takes steps with one network.

    Args:
        network: In training mode, on its device.
        loss: What is minimised.
        optimizer: Over the network and the loss's learned parts.
        average: The moving average that follows it, if any.
        preprocess: From uint8 images to the network's input.
        targets: The teacher's answers; None when the loss never asks for them.
        recipe: Its `gradient_clip_norm` is used.
        execution: How the network is run.
        device: Where it is.

    Attributes:
        execution: As given, until memory does not suffice: then its `micro_batch_size` is halved as often as needed.
            Losses and batch normalisation see the parts, not the whole batch.
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
        """Take step `number` on one batch of view `view`; returns the loss parts, scalars on the device.

        Raises:
            TrialError: Memory does not suffice for the smallest part of a batch.
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
        """Put the gradient of a batch into the network; returns the loss parts."""
        while True:
            try:
                self._optimizer.zero_grad(set_to_none=True)
                return self._accumulate(batch, view)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Outside the handler, which holds the failed pass's tensors.
            self._halve(len(batch.indices), reason)

    def _accumulate(self, batch: ViewBatch, view: int) -> dict[str, Tensor]:
        count = len(batch.indices)
        pieces = math.ceil(count / (self.execution.micro_batch_size or count))
        if pieces == 1:
            parts = self._losses(batch, view)
            parts["total"].backward()  # type: ignore[no-untyped-call]
            return {name: part.detach() for name, part in parts.items()}
        sums: dict[str, Tensor] = {}
        for piece in zip(*(field.tensor_split(pieces) for field in batch), strict=True):
            share = len(piece[0]) / count
            parts = {name: share * part for name, part in self._losses(ViewBatch(*piece), view).items()}
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
            raise TrialError(f"memory does not suffice for a batch of {_LEAST_PART} images ({reason})")
        self.execution = self.execution.model_copy(update={"micro_batch_size": max(_LEAST_PART, math.ceil(size / 2))})
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
