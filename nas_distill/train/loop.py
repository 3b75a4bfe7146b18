"""The training loop: one network, one recipe, epoch by epoch.

`Trainer` holds everything that changes while training, and can put all of it into a state and back: training that
goes on from a state is bit-identical to training that was never interrupted, on the same CPU and thread count.
Randomness is a function of (seed, epoch), so no generator's state needs to be kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas_distill.data.splits import ImageSplit
from nas_distill.data.views import ViewPlan, render_view
from nas_distill.errors import TrialError
from nas_distill.knowledge.store import ReferenceAnswers
from nas_distill.knowledge.targets import Targets
from nas_distill.losses.registry import DistillationLoss
from nas_distill.models.preprocess import Preprocess
from nas_distill.records import EpochMetrics, Recipe
from nas_distill.train.metrics import compare, gap_points, score
from nas_distill.train.optimisation import make_average, make_optimizer, make_schedule, steps_per_epoch

_EVALUATION_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a network is trained and measured on.

    Attributes:
        train: Training split.
        validation: Validation split.
        plan: Views of the training images; epoch e trains on view e mod count.
        preprocess: From uint8 images to the network's input.
    """

    train: ImageSplit
    validation: ImageSplit
    plan: ViewPlan
    preprocess: Preprocess


class Trainer:
    """One network in training.

    Args:
        network: Moved to `device`; trained in place.
        recipe: How.
        data: On what.
        targets: The teacher's answers to views; needed when the recipe has teacher losses.
        reference: The teacher's answers to plain images, for gap, agreement and divergence; None when there is no
            teacher to compare with.
        seed: Of the order of images and of dropout.
        device: Where.

    Raises:
        ConfigError: The recipe names an unknown loss, loss parameter or optimiser.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        data: TrainingData,
        targets: Targets | None,
        reference: ReferenceAnswers | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self._network = network.to(device)
        self._recipe = recipe
        self._data = data
        self._targets = targets
        self._reference = reference
        self._seed = seed
        self._device = device
        self._loss = DistillationLoss(recipe)
        self._steps = steps_per_epoch(data.train.num_images, recipe.batch_size)
        self._optimizer = make_optimizer(network, recipe)
        self._schedule = make_schedule(self._optimizer, recipe, steps=self._steps * recipe.epochs)
        self._average = make_average(network, recipe)
        self.epochs_done = 0
        self._best_epoch = 0
        self._best_score = (-math.inf, -math.inf)
        self._best_weights: dict[str, Tensor] | None = None
        assert targets is not None or not self._loss.needs_teacher

    def is_finished(self) -> bool:
        """Whether all epochs are trained, or early stopping ended the training."""
        patience = self._recipe.early_stopping_patience
        lost_patience = patience > 0 and self.epochs_done - self._best_epoch >= patience
        return self.epochs_done >= self._recipe.epochs or lost_patience

    def run_epoch(self) -> EpochMetrics:
        """Trains one epoch and measures the weights that would be kept.

        Raises:
            TrialError: The loss, a weight or an answer became NaN or infinite, the memory does not suffice, or the
                network cannot train on such batches.
        """
        started = time.perf_counter()
        epoch = self.epochs_done
        try:
            parts = self._train_epoch(epoch)
        except (ValueError, RuntimeError) as error:
            if "CUDA error" in str(error):
                raise  # the process's GPU context is lost: a new worker must go on
            raise TrialError(f"epoch {epoch + 1} failed: {type(error).__name__}: {_first_line(error)}") from error
        loss = parts.pop("total")
        if not math.isfinite(loss):
            raise TrialError(f"the training loss became {loss} in epoch {epoch + 1}; lower recipe.learning_rate")
        logits = self.evaluate(self._data.validation)
        if not bool(logits.isfinite().all()):
            raise TrialError(
                f"the network answered NaN or infinity after epoch {epoch + 1}; lower recipe.learning_rate"
            )
        self.epochs_done = epoch + 1
        return self._measure(logits, loss, parts, started)

    def evaluate(self, split: ImageSplit, indices: Tensor | None = None) -> Tensor:
        """Returns the logits of the evaluated weights for plain images, float32 [N, C] on the CPU.

        Args:
            split: The images.
            indices: int64 positions in the split; all by default.
        """
        network = self._evaluated().eval()
        order = torch.arange(split.num_images) if indices is None else indices
        with torch.inference_mode():
            answers = [
                network(self._data.preprocess(batch.images)).float()
                for batch in split.batches(order, _EVALUATION_BATCH, device=self._device)
            ]
        return torch.cat(answers).cpu()

    def keep(self) -> nn.Module:
        """Ends the training: returns the network with the weights that are kept, which `evaluate` then uses too."""
        network = self._evaluated()
        if self._best_weights is not None:
            network.load_state_dict(self._best_weights)
        return network.eval()

    def state(self) -> dict[str, Any]:
        """Returns everything that changes while training, for `save_state`."""
        return {
            "epochs_done": self.epochs_done,
            "network": self._network.state_dict(),
            "average": None if self._average is None else self._average.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best_epoch": self._best_epoch,
            "best_score": [None if math.isinf(value) else value for value in self._best_score],
            "best_weights": self._best_weights,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a `state()`.

        Raises:
            KeyError, RuntimeError, ValueError: It is the state of another network or recipe.
        """
        self._network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epochs_done = int(state["epochs_done"])
        self._best_epoch = int(state["best_epoch"])
        top1, likelihood = (-math.inf if value is None else float(value) for value in state["best_score"])
        self._best_score = (top1, likelihood)
        self._best_weights = state["best_weights"]

    def _evaluated(self) -> nn.Module:
        return self._network if self._average is None else self._average.module

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Returns the epoch's mean of every loss part."""
        torch.manual_seed(_derived_seed(self._seed, epoch))
        view = epoch % self._data.plan.count
        sums: dict[str, Tensor] = {}
        self._network.train()
        for step, parts in enumerate(self._losses(epoch, view), start=epoch * self._steps):
            self._schedule.step_update(step)
            self._optimizer.zero_grad(set_to_none=True)
            parts["total"].backward()  # type: ignore[no-untyped-call]
            if self._recipe.gradient_clip_norm > 0:
                nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.gradient_clip_norm)
            self._optimizer.step()
            if self._average is not None:
                self._average.update(self._network, step=step)
            for name, value in parts.items():
                # Summed on the device: reading a value here would make the host wait at every step.
                sums[name] = sums.get(name, torch.zeros((), device=self._device)) + value.detach()
        return {name: (total / self._steps).item() for name, total in sums.items()}

    def _losses(self, epoch: int, view: int) -> Iterator[dict[str, Tensor]]:
        """Yields the loss parts of every step of the epoch."""
        data, size = self._data, self._recipe.batch_size
        shuffle = torch.Generator().manual_seed(_derived_seed(self._seed, epoch))
        order = torch.randperm(data.train.num_images, generator=shuffle)[: self._steps * size]
        for batch in data.train.batches(order, size, device=self._device):
            images = render_view(batch.images, batch.indices, view, data.plan)
            teacher_logits = None
            if self._targets is not None and self._loss.needs_teacher:
                teacher_logits = self._targets.logits(view, batch.indices, images)
            yield self._loss(self._network(data.preprocess(images)), teacher_logits, batch.labels)

    def _measure(self, logits: Tensor, loss: float, parts: dict[str, float], started: float) -> EpochMetrics:
        labels = self._data.validation.labels.cpu()
        answers = score(logits, labels)
        if (answers.top1, -answers.nll_nats) > self._best_score and self._recipe.early_stopping_patience > 0:
            self._best_score = (answers.top1, -answers.nll_nats)
            self._best_epoch = self.epochs_done
            self._best_weights = {name: value.clone() for name, value in self._evaluated().state_dict().items()}
        against: dict[str, float] = {}
        if self._reference is not None:
            comparison = compare(logits, self._reference.validation)
            teacher_top1 = score(self._reference.validation, labels).top1
            against = {
                "gap_points": gap_points(teacher_top1, answers.top1),
                "agreement": comparison.agreement,
                "divergence_nats": comparison.divergence_nats,
            }
        return EpochMetrics(
            epoch=self.epochs_done,
            train_loss=loss,
            loss_parts=parts,
            learning_rate=self._optimizer.param_groups[0]["lr"],
            top1=answers.top1,
            nll_nats=answers.nll_nats,
            wall_time_s=time.perf_counter() - started,
            **against,
        )


def _derived_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
