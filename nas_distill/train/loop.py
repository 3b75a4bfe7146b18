"""The training loop: one network, one recipe, epoch by epoch.

`Trainer` holds everything that changes during training, and can save all of it as a state and restore it. A training
that continues from a state is bit-identical to one that was never interrupted, on the same CPU and with the same number
of threads. Every random choice is a function of (seed, epoch), so the states of random generators are not saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas_distill.config import ExecutionConfig
from nas_distill.data.views.batches import view_batches
from nas_distill.errors import TrialError, one_line
from nas_distill.knowledge.targets import Targets
from nas_distill.losses.registry import TOTAL
from nas_distill.machine_lock import Turn, training
from nas_distill.models.memory import is_context_lost
from nas_distill.records import EpochMetrics, ExecutionSettings, Recipe
from nas_distill.train.best_weights import BestWeights
from nas_distill.train.distillation_state import DistillationState
from nas_distill.train.evaluation import Reference
from nas_distill.train.evaluator import Evaluator
from nas_distill.train.execution import apply_execution, choose_execution, torch_memory_format
from nas_distill.train.metrics import MetricSums, SplitMetrics, gap_points
from nas_distill.train.optimisation import align_state, make_average, make_optimizer, make_schedule, steps_per_epoch
from nas_distill.train.step import Stepper
from nas_distill.train.training_data import TrainingData


class Trainer:
    """The training of one network.

    The network that is measured and saved is the moving average of the weights, or the network itself for a recipe
    without one.

    Args:
        network: Network to train in place; it is moved to `device`.
        recipe: Recipe of the training.
        data: Images that the network is trained and measured on.
        targets: The teacher's outputs for the views; needed if the recipe has teacher losses.
        reference: The teacher's logits for plain images, for gap, agreement and divergence; None without a teacher to
            compare with.
        seed: Seed of the image order, of dropout, and of the images that are held out for per-class release.
        device: Device to train on.
        execution: Precision, memory format and attention. Settings on "auto" are chosen by a probe before the first
            step.

    Attributes:
        epochs_done: Number of trained epochs.
        evaluator: Measures the network.

    Raises:
        ConfigError: The recipe names an unknown loss, loss parameter or optimiser, or needs outputs that the targets
            do not have.
        TeacherError: The teacher does not provide an output that a loss compares.
        SpaceError: The network does not provide it.
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
        assert targets is not None or not self._distillation.loss.uses_teacher
        self._positions = self._distillation.positions
        self.evaluator = Evaluator(data, reference, positions=self._positions, device=device)
        self._execution_config = execution or ExecutionConfig()
        self._steps = steps_per_epoch(len(self._positions), recipe.batch_size)
        self._optimizer = make_optimizer(network, recipe, learned=list(self._distillation.loss.parameters()))
        self._schedule = make_schedule(self._optimizer, recipe, steps=self._steps * recipe.epochs)
        self._average = make_average(network, recipe)
        self._best = BestWeights(recipe.early_stopping_patience)
        self._stepper: Stepper | None = None
        self.epochs_done = 0

    def is_finished(self) -> bool:
        """Return whether all epochs are trained or early stopping ended the training."""
        return self.epochs_done >= self._recipe.epochs or self._best.is_exhausted(self.epochs_done)

    def run_epoch(self) -> EpochMetrics:
        """Train one epoch, measure the network on validation, and return the metrics.

        Raises:
            TrialError: The loss, a weight or a logit became NaN or infinite, the memory is too small, or the network
                cannot be trained on such batches.
        """
        with training() as turn:
            return self._run_epoch(turn)

    def _run_epoch(self, turn: Turn) -> EpochMetrics:
        started, paused_s = time.perf_counter(), turn.paused_s
        epoch = self.epochs_done
        with _as_trial_error(f"epoch {epoch + 1}"):
            parts = self._train_epoch(epoch, turn)
        loss = parts.pop(TOTAL)
        if not math.isfinite(loss):
            raise TrialError(
                f"the training loss became {loss} in epoch {epoch + 1}; lower it",
                code="train.loss_not_finite",
                field="recipe.learning_rate",
            )
        measured = self.measure()
        if not measured.finite:
            raise TrialError(
                f"a logit became NaN or infinite after epoch {epoch + 1}; lower it",
                code="train.outputs_not_finite",
                field="recipe.learning_rate",
            )
        self._distillation.end_epoch(epoch, parts, self.evaluator.logits(self._evaluated(), self.memory_format))
        self.epochs_done = epoch + 1
        metrics = measured.metrics()
        self._best.update(self.epochs_done, metrics, self._evaluated())
        return EpochMetrics(
            epoch=self.epochs_done,
            train_loss=loss,
            loss_parts=parts,
            learning_rate=self._optimizer.param_groups[0]["lr"],
            top1=metrics.top1,
            nll_nats=metrics.nll_nats,
            wall_time_s=time.perf_counter() - started - (turn.paused_s - paused_s),
            **self._teacher_comparison(measured, metrics),
        )

    def profile_memory(self, steps: int) -> None:
        """Take `steps` steps of the first epoch and measure once, so that the peak memory can be read afterwards.

        The trainer cannot be used for training after this.

        Raises:
            TrialError: The steps fail as in `run_epoch`.
        """
        with _as_trial_error("the first steps"):
            self._train_epoch(0, Turn(), limit=steps)
            self.measure()

    def finish(self) -> nn.Module:
        """End the training and return the final network."""
        network = self._evaluated()
        self._best.restore(self.epochs_done, network)
        return network.eval()

    @property
    def execution(self) -> ExecutionSettings:
        """The settings that the network runs with; the default ones before the first epoch."""
        return ExecutionSettings() if self._stepper is None else self._stepper.execution

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of the inputs and weights of the network."""
        return torch_memory_format(self.execution)

    @property
    def released_classes(self) -> tuple[int, ...]:
        """Classes that were released from the teacher (`Adaptation.release`)."""
        return self._distillation.released

    def measure(self) -> MetricSums:
        """Measure the network on validation, in float32."""
        return self.evaluator.validation(self._evaluated(), self.memory_format)

    def state(self) -> dict[str, Any]:
        """Return everything that changes during training, for `save_state`."""
        return {
            "epochs_done": self.epochs_done,
            "network": self._network.state_dict(),
            "average": None if self._average is None else self._average.module.state_dict(),
            "distillation": self._distillation.state(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best.state(),
            "execution": None if self._stepper is None else self._stepper.execution.model_dump(),
            "device": self._device.type,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`.

        Execution settings that were chosen for another kind of device are chosen again.

        Raises:
            KeyError, RuntimeError, ValueError: The state is that of another network or recipe.
        """
        self._network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"])
        self._distillation.load(state["distillation"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best.load(state["best"])
        self.epochs_done = int(state["epochs_done"])
        self._stepper = None
        if state["execution"] is not None and state["device"] == self._device.type:
            self._stepper = self._make_stepper(ExecutionSettings(**state["execution"]))

    def _train_epoch(self, epoch: int, turn: Turn, *, limit: int | None = None) -> dict[str, float]:
        """Return the mean of every loss part over the epoch, or over its first `limit` steps."""
        data, size = self._data, self._recipe.batch_size
        seed = int(np.random.SeedSequence((self._seed, epoch)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        order = self._positions[torch.randperm(len(self._positions), generator=generator)]
        steps = self._steps if limit is None else min(limit, self._steps)
        order = order[: steps * size]
        self._network.train()
        self._distillation.begin_epoch(epoch)
        if self._stepper is None:
            self._stepper = self._make_stepper(self._choose_execution(order[:size]))
        torch.manual_seed(seed)  # dropout, stochastic depth
        view = epoch % data.plan.count
        sums: dict[str, Tensor] = {}
        batches = view_batches(data.train, order, size, view=view, plan=data.plan, device=self._device)
        for step, batch in enumerate(batches, start=epoch * self._steps):
            turn.give_way()
            self._schedule.step_update(step)
            # Summed on the device: reading a value here would synchronise with it at every step.
            for name, value in self._stepper.step(step, batch, view).items():
                sums[name] = sums[name] + value if name in sums else value
        return {name: (total / steps).item() for name, total in sums.items()}

    def _choose_execution(self, indices: Tensor) -> ExecutionSettings:
        def batch() -> tuple[Tensor, Tensor]:
            half = indices[: math.ceil(len(indices) / 2)]  # enough for the comparison, at half the cost
            (images,) = self._data.train.batches(half, len(half), device=self._device)
            return self._data.preprocess(images.images), images.labels

        return choose_execution(self._network, batch, self._execution_config, steps=self._steps * self._recipe.epochs)

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

    def _evaluated(self) -> nn.Module:
        """Return the network that is measured and saved."""
        return self._network if self._average is None else self._average.module

    def _teacher_comparison(self, measured: MetricSums, metrics: SplitMetrics) -> dict[str, float]:
        reference = self.evaluator.reference
        if reference is None:
            return {}
        comparison = measured.comparison()
        return {
            "gap_points": gap_points(reference.teacher.top1, metrics.top1),
            "agreement": comparison.agreement,
            "divergence_nats": comparison.divergence_nats,
        }


@contextmanager
def _as_trial_error(what: str) -> Iterator[None]:
    """Turn errors of torch into a `TrialError`, except a lost GPU context, after which only a new process can go on."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if is_context_lost(error):
            raise
        raise TrialError(f"{what} failed: {one_line(error)}", code="train.step_failed") from error
