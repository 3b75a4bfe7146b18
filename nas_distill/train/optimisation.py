"""Optimiser, learning-rate schedule and moving average, from timm's factories."""

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

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.records import Recipe


def check_optimizer(name: str) -> None:
    """Check that timm knows the optimiser, and that it steps by the gradient alone.

    Raises:
        ConfigError: It does not.
    """
    known = timm.optim.list_optimizers()
    if name not in known:
        raise ConfigError(f"recipe.optimizer: timm has no optimiser '{name}'; {nearest_names(name, known)}")
    if timm.optim.get_optimizer_info(name).second_order:
        raise ConfigError(
            f"recipe.optimizer: '{name}' needs second derivatives, which training does not compute; take one of "
            "gradients alone, such as adamw"
        )


def make_optimizer(network: nn.Module, recipe: Recipe, learned: Sequence[nn.Parameter] = ()) -> Optimizer:
    """Return the recipe's optimiser over `network`; biases and norms take no weight decay.

    Args:
        network: What is trained.
        recipe: How.
        learned: Parameters of losses, trained along without weight decay.

    Raises:
        ConfigError: timm does not know it, or it cannot be made here (some ask for CUDA or another package).
    """
    check_optimizer(recipe.optimizer)
    try:
        # One kernel for all weights, where the optimiser has one.
        options: dict[str, Any] = {"fused": True} if _can_fuse(recipe.optimizer) else {}
        optimizer: Optimizer = timm.optim.create_optimizer_v2(
            network, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, **options
        )
    except Exception as error:
        raise ConfigError(f"recipe.optimizer: '{recipe.optimizer}' cannot be made here: {error}") from error
    if learned:
        optimizer.add_param_group({"params": list(learned), "weight_decay": 0.0})
    return optimizer


def align_state(optimizer: Optimizer) -> None:
    """Lay the optimiser's state out as the weights are.

    A checkpoint holds plain contiguous tensors, and the fused kernels walk weights and state side by side in memory,
    whatever their strides.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _can_fuse(name: str) -> bool:
    optimizer_class = timm.optim.get_optimizer_class(name, bind_defaults=False)
    return "fused" in inspect.signature(optimizer_class).parameters


def make_schedule(optimizer: Optimizer, recipe: Recipe, *, steps: int) -> Scheduler:
    """Return linear warm-up and then the recipe's course, over `steps` steps; a function of the step number alone.

    With t of n steps after the warm-up, peak p and end e = `min_learning_rate_share` p:

    - "cosine": e + (p - e) (1 + cos(pi t / n)) / 2 (Loshchilov and Hutter 2017, SGDR, arXiv 1608.03983, equation 5,
      without restarts)
    - "linear": e + (p - e) (1 - t / n)
    - "step": p, from a third of the n steps on p / 10, from two thirds on p / 100
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
    """timm's moving average of one network's weights and buffers, which gathers the tensors of both only once.

    timm's own walks both networks' state at every step, which takes longer than the arithmetic.

    Args:
        network: Followed; its tensors must not be replaced after the first update.
        decay: Per step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, decay=decay, use_warmup=True)
        self._pairs: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]] | None = None

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        """Move floating-point tensors by 1 - decay towards the network's; takes the others (counters) over."""
        if self._pairs is None:
            mine, theirs = self.module.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
            # By identity, since tied weights have two names, and twice moved would be too far.
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
    """Return the moving average that is evaluated, or None when the raw weights are.

    Its decay warms up, so that it is not held back by the random weights of step 0.
    """
    if recipe.ema_decay == 0:
        return None
    return Average(network, recipe.ema_decay)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the full batches in `num_images`, or one smaller batch when there is no full one."""
    return max(1, math.floor(num_images / batch_size))
