"""Wall time of the parts of a training epoch, each without the parts inside it."""

from __future__ import annotations

import functools
import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import timm.scheduler.scheduler
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from nas_distill.data.splits import DecodedSplit, MemorySplit
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.losses.registry import DistillationLoss
from nas_distill.models.preprocess import Preprocess
from nas_distill.train import loop

EVALUATION = "evaluation"

_PARTS: tuple[tuple[str, Any, str], ...] = (
    ("data and views", loop, "view_batches"),
    ("data and views", loop, "render_view"),
    ("data and views", MemorySplit, "batches"),
    ("data and views", DecodedSplit, "batches"),
    ("teacher's answers", StoredTargets, "logits"),
    ("preprocessing", Preprocess, "__call__"),
    ("loss", DistillationLoss, "__call__"),
    ("loss", DistillationLoss, "forward"),
    ("backward", torch.Tensor, "backward"),
    ("gradient clipping", nn.utils, "clip_grad_norm_"),
    ("optimiser", torch.optim.Optimizer, "zero_grad"),
    ("schedule", timm.scheduler.scheduler.Scheduler, "step_update"),
    ("moving average", ModelEmaV3, "update"),
    (EVALUATION, loop.Trainer, "measure"),
    (EVALUATION, loop.Trainer, "evaluate"),
)
"""Part, owner and name of what does it; a name that its owner does not define itself is passed over."""


class Stopwatch:
    """Adds up the seconds of labelled stretches; what runs inside evaluation counts as evaluation.

    Args:
        device: On a GPU every stretch begins and ends with the device at rest, which takes away what overlaps.

    Attributes:
        seconds: Label -> seconds so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._stack: list[str] = []
        self._since = 0.0

    def start(self, label: str) -> None:
        """Begins a stretch; the one around it waits."""
        self._tick()
        self._stack.append(EVALUATION if EVALUATION in self._stack else label)

    def stop(self) -> None:
        """Ends the innermost stretch."""
        self._tick()
        self._stack.pop()

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Watches the forward passes of `network`, every optimiser's steps and all parts of the loop."""
        before = network.register_forward_pre_hook(lambda *_: self.start("forward"))
        after = network.register_forward_hook(lambda *_: self.stop())
        step_before = register_optimizer_step_pre_hook(lambda *_: self.start("optimiser"))
        step_after = register_optimizer_step_post_hook(lambda *_: self.stop())
        own = [(label, owner, name) for label, owner, name in _PARTS if name in vars(owner)]
        originals = [(owner, name, vars(owner)[name]) for _, owner, name in own]
        for label, owner, name in own:
            setattr(owner, name, self._watched(label, vars(owner)[name]))
        try:
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)
            for handle in (before, after, step_before, step_after):
                handle.remove()

    def _watched(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
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
