"""Optimiser, learning-rate schedule and moving average, built by timm's factories."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import timm.optim
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from timm.scheduler.poly_lr import PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.step_lr import StepLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from nas_distill.errors import ConfigError, first_line, nearest_names
from nas_distill.records import Recipe


def check_optimizer(name: str) -> None:
    """Check that timm has the optimiser, and that it needs only gradients.

    Raises:
        ConfigError: timm has no such optimiser, or it needs second derivatives.
    """
    known = timm.optim.list_optimizers()
    if name not in known:
        raise ConfigError(
            f"timm has no optimiser '{name}'; {nearest_names(name, known)}",
            code="train.optimizer_unknown",
            field="recipe.optimizer",
        )
    if timm.optim.get_optimizer_info(name).second_order:
        raise ConfigError(
            f"'{name}' needs second derivatives, which training does not compute; use one that needs only gradients, "
            "such as adamw",
            code="train.optimizer_needs_second_derivatives",
            field="recipe.optimizer",
        )


def make_optimizer(network: nn.Module, recipe: Recipe, learned: Sequence[nn.Parameter] = ()) -> Optimizer:
    """Return the recipe's optimiser for `network`. Biases and norms have no weight decay.

    Args:
        network: Network to train.
        recipe: Recipe whose optimiser settings are used.
        learned: Learned parameters of losses; they have no weight decay either.

    Raises:
        ConfigError: timm has no such optimiser, or it cannot be created here (some need CUDA or another package).
    """
    check_optimizer(recipe.optimizer)
    try:
        # One kernel for all weights, if the optimiser has a fused implementation.
        options: dict[str, Any] = {"fused": True} if _can_fuse(recipe.optimizer) else {}
        optimizer: Optimizer = timm.optim.create_optimizer_v2(
            network, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, **options
        )
    except Exception as error:
        raise ConfigError(
            f"'{recipe.optimizer}' cannot be created here: {first_line(error)}; use another one, such as adamw",
            code="train.optimizer_unavailable",
            field="recipe.optimizer",
        ) from error
    if learned:
        optimizer.add_param_group({"params": list(learned), "weight_decay": 0.0})
    return optimizer


def align_state(optimizer: Optimizer) -> None:
    """Give the tensors of the optimiser's state the memory layout of the weights.

    A checkpoint holds contiguous tensors. The fused kernels traverse weights and state in memory order and ignore
    strides.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _can_fuse(name: str) -> bool:
    optimizer_class = timm.optim.get_optimizer_class(name, bind_defaults=False)
    return "fused" in inspect.signature(optimizer_class).parameters


def make_schedule(optimizer: Optimizer, recipe: Recipe, *, steps: int) -> Scheduler:
    """Return the learning-rate schedule: linear warm-up, then the recipe's schedule, over `steps` steps in total.

    The learning rate is a function of the step number. With step t of n after the warm-up, peak p and end
    e = `min_learning_rate_share` p:

    - "cosine": e + (p - e) (1 + cos(pi t / n)) / 2 (Loshchilov and Hutter 2017, SGDR, arXiv 1608.03983, equation 5,
      without restarts)
    - "linear": e + (p - e) (1 - t / n)
    - "step": p, then p / 10 from a third of the n steps, then p / 100 from two thirds
    - "constant": p
    """
    warmup = min(round(recipe.warmup_share * steps), max(steps - 1, 0))
    length = max(steps - warmup, 1)
    shared: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": recipe.learning_rate / max(warmup, 1),
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    end = recipe.learning_rate * recipe.min_learning_rate_share
    match recipe.schedule:
        case "cosine":
            return CosineLRScheduler(optimizer, t_initial=length, lr_min=end, **shared)
        case "linear":
            return PolyLRScheduler(optimizer, t_initial=length, lr_min=end, power=1.0, **shared)
        case "step":
            # timm's milestone m takes effect at t = m - 1.
            milestones = [math.ceil(third * length / 3) + 1 for third in (1, 2)]
            return MultiStepLRScheduler(optimizer, decay_t=milestones, decay_rate=0.1, **shared)
        case "constant":
            return StepLRScheduler(optimizer, decay_t=length, decay_rate=1.0, **shared)


class Average(ModelEmaV3):  # type: ignore[misc]
    """timm's moving average of a network's weights and buffers, which collects the tensors of both only once.

    timm's own implementation collects them at every step, which takes longer than the arithmetic.

    Args:
        network: Network to average. Its tensors must not be replaced after the first update.
        decay: Decay per step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, decay=decay, use_warmup=True)
        self._pairs: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]] | None = None

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        """Move floating-point tensors towards the network's by 1 - decay; copy the others (counters)."""
        if self._pairs is None:
            mine, theirs = self.module.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
            # By identity, because tied weights have two names and must be moved only once.
            pairs = list({id(tensor): (tensor, theirs[name]) for name, tensor in mine.items()}.values())
            moving = [pair for pair in pairs if pair[0].is_floating_point()]
            counting = [pair for pair in pairs if not pair[0].is_floating_point()]
            self._pairs = (*_columns(moving), *_columns(counting))
        averages, weights, copies, counters = self._pairs
        torch._foreach_lerp_(averages, weights, 1.0 - decay)
        if copies:
            torch._foreach_copy_(copies, counters)


def _columns(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]


def make_average(network: nn.Module, recipe: Recipe) -> Average | None:
    """Return the moving average that is measured and saved; None for a recipe without one.

    The decay warms up, so that the random weights of step 0 lose their influence quickly.
    """
    if recipe.ema_decay == 0:
        return None
    return Average(network, recipe.ema_decay)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of full batches in `num_images`; 1 if there are fewer images than a batch."""
    return max(1, math.floor(num_images / batch_size))
