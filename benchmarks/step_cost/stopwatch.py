"""Wall time of the parts of a training epoch; nested parts are counted once."""

from __future__ import annotations

import functools
import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import timm.scheduler.scheduler
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from nas_distill.knowledge.targets import StoredTargets
from nas_distill.losses.registry import DistillationLoss
from nas_distill.models.preprocess import Preprocess
from nas_distill.train import loop

EVALUATION = "evaluation"

Part = tuple[str, Any, str]

_PARTS: tuple[Part, ...] = (
    ("data and views", loop, "view_batches"),
    ("teacher outputs", StoredTargets, "outputs"),
    ("preprocessing", Preprocess, "__call__"),
    ("loss", DistillationLoss, "forward"),
    ("backward", torch.Tensor, "backward"),
    ("gradient clipping", nn.utils, "clip_grad_norm_"),
    ("optimiser", torch.optim.Optimizer, "zero_grad"),
    ("schedule", timm.scheduler.scheduler.Scheduler, "step_update"),
    ("moving average", ModelEmaV3, "update"),
    (EVALUATION, loop.Trainer, "measure"),
)
"""Name of the part, and the owner and name of the function that does it."""


class Stopwatch:
    """Measure the time of labelled intervals.

    Everything that runs during the evaluation counts as evaluation.

    Args:
        device: Device of the training. On a GPU, the device is synchronised at both ends of every interval, so host
            and device never overlap while they are timed.

    Attributes:
        seconds: Seconds so far, by label.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._stack: list[str] = []
        self._since = 0.0

    def start(self, label: str) -> None:
        """Start an interval; the enclosing interval is paused."""
        self._tick()
        self._stack.append(EVALUATION if EVALUATION in self._stack else label)

    def stop(self) -> None:
        """End the innermost interval."""
        self._tick()
        self._stack.pop()

    @contextmanager
    def watching(self, network: nn.Module, parts: Sequence[Part] = _PARTS) -> Iterator[None]:
        """Time the forward passes of `network`, all optimiser steps and the parts of the training loop.

        Args:
            network: Network to time.
            parts: Functions to time.

        Raises:
            AttributeError: A function does not exist under its name.
        """
        originals = [(label, owner, name, _own_function(owner, name)) for label, owner, name in parts]
        before = network.register_forward_pre_hook(lambda *_: self.start("forward"))
        after = network.register_forward_hook(lambda *_: self.stop())
        step_before = register_optimizer_step_pre_hook(lambda *_: self.start("optimiser"))
        step_after = register_optimizer_step_post_hook(lambda *_: self.stop())
        for label, owner, name, original in originals:
            setattr(owner, name, self._timed(label, original))
        try:
            yield
        finally:
            for _, owner, name, original in originals:
                setattr(owner, name, original)
            for handle in (before, after, step_before, step_after):
                handle.remove()

    def _timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **settings: Any) -> Any:
            self.start(label)
            try:
                return function(*arguments, **settings)
            finally:
                self.stop()

        @functools.wraps(function)
        def iterate(*arguments: Any, **settings: Any) -> Iterator[Any]:
            items = iter(function(*arguments, **settings))
            while True:
                self.start(label)
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    self.stop()
                yield item

        return iterate if inspect.isgeneratorfunction(function) else call

    def _tick(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now


def _own_function(owner: Any, name: str) -> Callable[..., Any]:
    """Return a function that a module or class defines itself; replacing an inherited one affects siblings."""
    if name not in vars(owner):
        raise AttributeError(f"{owner.__name__} defines no {name!r}; correct the list of timed functions")
    function: Callable[..., Any] = vars(owner)[name]
    return function
