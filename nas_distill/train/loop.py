"""The training loop: one network, one recipe, epoch by epoch.

`Trainer` holds everything that changes while training, and can put all of it into a state and back: training that
goes on from a state is bit-identical to training that was never interrupted, on the same CPU and thread count.
Randomness is a function of (seed, epoch), so no generator's state needs to be kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas_distill.config import ExecutionConfig
from nas_distill.data.splits import ImageSplit
from nas_distill.data.views.batches import view_batches
from nas_distill.errors import TrialError, one_line
from nas_distill.knowledge.targets import Targets
from nas_distill.losses.registry import TOTAL
from nas_distill.models.memory import is_context_lost
from nas_distill.records import EpochMetrics, ExecutionSettings, Recipe
from nas_distill.train.distillation_state import DistillationState
from nas_distill.train.evaluation import Reference, evaluate, measure
from nas_distill.train.evaluator import logits_function, outputs_function
from nas_distill.train.execution import apply_execution, choose_execution, torch_memory_format
from nas_distill.train.metrics import MetricSums, gap_points, linear_cka
from nas_distill.train.optimisation import align_state, make_average, make_optimizer, make_schedule, steps_per_epoch
from nas_distill.train.step import Stepper
from nas_distill.train.training_data import TrainingData

_SAMPLE = 2
"""Images that show whether a network gives embeddings."""


class Trainer:
    """One network in training.

    Args:
        network: Moved to `device`; trained in place.
        recipe: How.
        data: On what.
        targets: The teacher's answers to views; needed when the recipe has teacher losses.
        reference: The teacher's answers to plain images, for gap, agreement and divergence; None when there is no
            teacher to compare with.
        seed: Of the order of images, of dropout, and of what is held out for per-class release.
        device: Where.
        execution: How it is run there; what it leaves open is found by a probe before the first step.

    Raises:
        ConfigError: The recipe names an unknown loss, loss parameter or optimiser, or asks for what the targets lack.
        TeacherError: The teacher has no such signals as a loss compares.
        SpaceError: The network has none.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        data: TrainingData,
        targets: Targets | None,
        reference: Reference | None,
        seed: int,
        device: torch.device,
        execution: ExecutionConfig | None = None,
    ) -> None:
        self._network = network.to(device)
        self._recipe = recipe
        self._data = data
        self._targets = targets
        self._seed = seed
        self._device = device
        self._distillation = DistillationState(
            self._network, recipe=recipe, data=data, targets=targets, seed=seed, device=device
        )
        self._positions = self._distillation.positions
        self._reference = None if reference is None else reference.restricted_to(self._positions)
        self._wanted = execution or ExecutionConfig()
        self._steps = steps_per_epoch(len(self._positions), recipe.batch_size)
        self._optimizer = make_optimizer(network, recipe, learned=list(self._distillation.loss.parameters()))
        self._schedule = make_schedule(self._optimizer, recipe, steps=self._steps * recipe.epochs)
        self._average = make_average(network, recipe)
        self.epochs_done = 0
        self._best_epoch = 0
        self._best_score = (-math.inf, -math.inf)
        self._best_weights: dict[str, Tensor] | None = None
        self._stepper: Stepper | None = None
        assert targets is not None or not self._distillation.loss.uses_teacher

    def is_finished(self) -> bool:
        """Return whether all epochs are trained, or early stopping ended the training."""
        patience = self._recipe.early_stopping_patience
        lost_patience = patience > 0 and self.epochs_done - self._best_epoch >= patience
        return self.epochs_done >= self._recipe.epochs or lost_patience

    def run_epoch(self) -> EpochMetrics:
        """Train one epoch and measures the weights that would be kept.

        Raises:
            TrialError: The loss, a weight or an answer became NaN or infinite, the memory does not suffice, or the
                network cannot train on such batches.
        """
        started = time.perf_counter()
        epoch = self.epochs_done
        with _as_trial_error(f"epoch {epoch + 1}"):
            parts = self._train_epoch(epoch)
        loss = parts.pop(TOTAL)
        if not math.isfinite(loss):
            raise TrialError(f"the training loss became {loss} in epoch {epoch + 1}; lower recipe.learning_rate")
        measured = self.measure()
        if not measured.finite:
            raise TrialError(
                f"the network answered NaN or infinity after epoch {epoch + 1}; lower recipe.learning_rate"
            )
        self._distillation.end_epoch(epoch, parts, self._answering())
        self.epochs_done = epoch + 1
        return self._describe(measured, loss, parts, started)

    def profile_memory(self, steps: int) -> None:
        """Take a few steps of the first epoch and measures once, to see what it takes; the trainer is spent then.

        Raises:
            TrialError: As from `run_epoch`.
        """
        with _as_trial_error("the first steps"):
            self._train_epoch(0, limit=steps)
            self.measure()

    @property
    def execution(self) -> ExecutionSettings:
        """How the network was run so far; the plainest way before the first epoch."""
        return ExecutionSettings() if self._stepper is None else self._stepper.execution

    @property
    def released_classes(self) -> tuple[int, ...]:
        """Classes for which the teacher's terms were dropped (`Adaptation.release`)."""
        return self._distillation.released

    def measure(self) -> MetricSums:
        """Measure the evaluated weights on validation, in float32."""
        teacher_logits = None if self._reference is None else self._reference.validation
        return evaluate(
            self._answering(),
            self._data.validation,
            device=self._device,
            indices=self._data.validation_indices,
            teacher_logits=teacher_logits,
        )

    def measure_final(self) -> tuple[MetricSums, float | None]:
        """Measure the kept weights on validation in one pass, the similarity of their features to the teacher's too.

        Returns:
            The sums, and the linear CKA; None where the network or the teacher gives no penultimate features.
        """
        assert self._reference is not None
        (some,) = self._data.train.batches(self._positions[:_SAMPLE], _SAMPLE, device=self._device)
        found, features = measure(
            outputs_function(
                self._evaluated(), self._data.preprocess, torch_memory_format(self.execution), some.images
            ),
            self._data.validation,
            device=self._device,
            indices=self._data.validation_indices,
            teacher_logits=self._reference.validation,
        )
        theirs = self._reference.features
        return found, None if features is None or theirs is None else linear_cka(features, theirs)

    def measure_on(self, split: ImageSplit, teacher_logits: Tensor) -> MetricSums:
        """Measure the evaluated weights on another split.

        Args:
            split: Its images.
            teacher_logits: float32 [N, C], the teacher's answers to them.
        """
        return evaluate(self._answering(), split, device=self._device, teacher_logits=teacher_logits)

    def measure_subset(self) -> MetricSums:
        """Measure the evaluated weights on what of the fixed training subset was trained on, without augmentation."""
        assert self._reference is not None
        return evaluate(
            self._answering(),
            self._data.train,
            device=self._device,
            indices=self._reference.subset_indices,
            teacher_logits=self._reference.subset,
        )

    def finish(self) -> nn.Module:
        """Ends the training: returns the network with the weights that are kept, which are measured from then on."""
        network = self._evaluated()
        if self._best_weights is not None and self._best_epoch != self.epochs_done:
            network.load_state_dict(self._best_weights)
        return network.eval()

    def state(self) -> dict[str, Any]:
        """Return everything that changes while training, for `save_state`."""
        return {
            "epochs_done": self.epochs_done,
            "network": self._network.state_dict(),
            "average": None if self._average is None else self._average.module.state_dict(),
            "distillation": self._distillation.state(),
            "optimizer": self._optimizer.state_dict(),
            "best_epoch": self._best_epoch,
            "best_score": [None if math.isinf(value) else value for value in self._best_score],
            "best_weights": self._best_weights,
            "execution": None if self._stepper is None else self._stepper.execution.model_dump(),
            "device": self._device.type,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a `state()`.

        Raises:
            KeyError, RuntimeError, ValueError: It is the state of another network or recipe.
        """
        self._network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"])
        self._distillation.load(state["distillation"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epochs_done = int(state["epochs_done"])
        self._best_epoch = int(state["best_epoch"])
        top1, likelihood = (-math.inf if value is None else float(value) for value in state["best_score"])
        self._best_score = (top1, likelihood)
        self._best_weights = state["best_weights"]
        self._stepper = None
        if state["execution"] is not None and state["device"] == self._device.type:
            self._stepper = self._make_stepper(ExecutionSettings(**state["execution"]))

    def _evaluated(self) -> nn.Module:
        return self._network if self._average is None else self._average.module

    def _answering(self) -> Callable[[Tensor], Tensor]:
        return logits_function(self._evaluated(), self._data.preprocess, torch_memory_format(self.execution))

    def _train_epoch(self, epoch: int, limit: int | None = None) -> dict[str, float]:
        """Return the mean of every loss part over the epoch, or over its first `limit` steps."""
        data, size = self._data, self._recipe.batch_size
        seed = _derived_seed(self._seed, epoch)
        positions = self._positions
        order = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(seed))]
        steps = self._steps if limit is None else min(limit, self._steps)
        order = order[: steps * size]
        self._network.train()
        self._distillation.begin_epoch(epoch)
        if self._stepper is None:
            self._stepper = self._make_stepper(self._choose_execution(order[:size]))
        torch.manual_seed(seed)
        view = epoch % data.plan.count
        sums: dict[str, Tensor] = {}
        batches = view_batches(data.train, order, size, view=view, plan=data.plan, device=self._device)
        for step, batch in enumerate(batches, start=epoch * self._steps):
            self._schedule.step_update(step)
            # Summed on the device: reading a value here would make the host wait at every step.
            for name, value in self._stepper.step(step, batch, view).items():
                sums[name] = sums[name] + value if name in sums else value
        return {name: (total / steps).item() for name, total in sums.items()}

    def _choose_execution(self, indices: Tensor) -> ExecutionSettings:
        def batch() -> tuple[Tensor, Tensor]:
            some = indices[: math.ceil(len(indices) / 2)]  # half a batch tells as much, and costs half as much
            (images,) = self._data.train.batches(some, len(some), device=self._device)
            return self._data.preprocess(images.images), images.labels

        return choose_execution(self._network, batch, self._wanted, steps=self._steps * self._recipe.epochs)

    def _make_stepper(self, execution: ExecutionSettings) -> Stepper:
        self._evaluated().to(memory_format=torch_memory_format(execution))
        apply_execution(self._network, execution)
        align_state(self._optimizer)
        return Stepper(
            self._network,
            loss=self._distillation.loss,
            optimizer=self._optimizer,
            average=self._average,
            preprocess=self._data.preprocess,
            targets=self._targets,
            recipe=self._recipe,
            execution=execution,
            device=self._device,
        )

    def _describe(self, measured: MetricSums, loss: float, parts: dict[str, float], started: float) -> EpochMetrics:
        answers = measured.metrics()
        if (answers.top1, -answers.nll_nats) > self._best_score and self._recipe.early_stopping_patience > 0:
            self._best_score = (answers.top1, -answers.nll_nats)
            self._best_epoch = self.epochs_done
            self._best_weights = {name: value.clone() for name, value in self._evaluated().state_dict().items()}
        against: dict[str, float] = {}
        if self._reference is not None:
            comparison = measured.comparison()
            against = {
                "gap_points": gap_points(self._reference.teacher.top1, answers.top1),
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


@contextmanager
def _as_trial_error(what: str) -> Iterator[None]:
    """Turns what torch refuses into the trial's end, but for a lost GPU context: with that a new worker must go on."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if is_context_lost(error):
            raise
        raise TrialError(f"{what} failed: {one_line(error)}") from error


def _derived_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
