"""Optimiser, learning-rate schedule and moving average, from timm's factories."""

from __future__ import annotations

import inspect
import math
from typing import Any

import timm.optim
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.records import Recipe


def check_optimizer(name: str) -> None:
    """Checks that timm knows the optimiser.

    Raises:
        ConfigError: It does not.
    """
    known = timm.optim.list_optimizers()
    if name not in known:
        raise ConfigError(f"recipe.optimizer: timm has no optimiser '{name}'; {nearest_names(name, known)}")


def make_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """Returns the recipe's optimiser over `network`; biases and norms take no weight decay.

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
    return optimizer


def _can_fuse(name: str) -> bool:
    optimizer_class = timm.optim.get_optimizer_class(name, bind_defaults=False)
    return "fused" in inspect.signature(optimizer_class).parameters


def make_schedule(optimizer: Optimizer, recipe: Recipe, *, steps: int) -> CosineLRScheduler:
    """Returns linear warm-up and cosine over `steps` steps, a function of the step number alone.

    The cosine is that of Loshchilov and Hutter 2017 (SGDR, arXiv 1608.03983, equation 5) without restarts.
    """
    warmup = min(round(recipe.warmup_share * steps), max(steps - 1, 0))
    return CosineLRScheduler(
        optimizer,
        t_initial=max(steps - warmup, 1),
        lr_min=recipe.learning_rate * recipe.min_learning_rate_share,
        warmup_t=warmup,
        warmup_lr_init=recipe.learning_rate / max(warmup, 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def make_average(network: nn.Module, recipe: Recipe) -> ModelEmaV3 | None:
    """Returns the moving average that is evaluated, or None when the raw weights are.

    Its decay warms up, so that it is not held back by the random weights of step 0.
    """
    if recipe.ema_decay == 0:
        return None
    return ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Returns the full batches in `num_images`, or one smaller batch when there is no full one."""
    return max(1, math.floor(num_images / batch_size))
