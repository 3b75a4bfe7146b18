"""How a network is run on this device: precision, memory format and attention, chosen by timing a few steps of each.

The fastest choice depends on architecture, size and device (bfloat16 doubles the speed of one network and slows
another), so it is measured per candidate, never assumed.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from nas_distill.config import ExecutionConfig
from nas_distill.models.memory import is_context_lost
from nas_distill.records import Attention, ExecutionSettings, MemoryFormat, Precision

ChoiceT = TypeVar("ChoiceT", bound=str)

_ROUNDS = 2
"""After one pass that warms up, and shows whether the option computes the right thing."""

_LEAST_STEPS = 40 * (_ROUNDS + 1)
"""Below this many steps of training the probe, as many of each option, would cost more than a tenth of them."""

_CLEAR_WIN = 0.9
"""An option must take at most this share of plain eager float32: a tie is no reason to change the arithmetic."""

ANSWER_TOLERANCE = 0.05
"""Largest relative error (L2 norm over a batch of logits) that an option may make against plain float32."""

GRADIENT_TOLERANCE = 0.9
"""Smallest cosine between an option's gradient and that of plain float32."""

_LARGEST_BLOCK = 16
"""Channels that oneDNN's convolutions take together, with AVX-512; 8 with AVX2."""

_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_ATTENTIONS: tuple[Attention, ...] = ("fused", "plain")
_BYTE_FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What the probe found of one option.

    Attributes:
        execution: The option.
        step_s: Seconds of a forward and backward pass, the fastest of the rounds: other processes only add to it.
        answer_error: Relative error of its logits against the first option.
        gradient_cosine: Of its gradient with that of the first option.
    """

    execution: ExecutionSettings
    step_s: float
    answer_error: float
    gradient_cosine: float

    @property
    def correct(self) -> bool:
        """Whether it computes what the first option does, within the tolerances."""
        return self.answer_error <= ANSWER_TOLERANCE and self.gradient_cosine >= GRADIENT_TOLERANCE


def candidate_executions(config: ExecutionConfig, network: nn.Module) -> list[ExecutionSettings]:
    """Return what `config` leaves open, makes a difference to `network` and is safe for it, plainest first."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    formats = _open(config.memory_format, tuple(_BYTE_FORMATS), matters=len(convolutions) > 1)
    if any(_overruns(convolution) for convolution in convolutions):
        formats = ("contiguous",)
    attentions = _open(config.attention, _ATTENTIONS, matters=any(True for _ in _attentions(network)))
    return [
        ExecutionSettings(precision=precision, memory_format=memory_format, attention=attention)
        for precision in _open(config.precision, _PRECISIONS)
        for memory_format in formats
        for attention in attentions
    ]


def apply_execution(network: nn.Module, execution: ExecutionSettings) -> nn.Module:
    """Bring `network` into the memory format and to the attention of `execution`; returns it."""
    for module in _attentions(network):
        module.fused_attn = execution.attention == "fused"  # type: ignore[assignment]
    return network.to(memory_format=torch_memory_format(execution))


def choose_execution(
    network: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]], config: ExecutionConfig, *, steps: int
) -> ExecutionSettings:
    """Return how to run `network` here; network, random state and gradients stay as they are.

    Args:
        network: In training mode, on its device.
        batch: Returns images float32 [B, C, H, W] and labels int64 [B], as in training but perhaps fewer.
        config: What is fixed and what is left open.
        steps: How many steps the training will take; short trainings are not probed.
    """
    open_options = candidate_executions(config, network)
    if len(open_options) == 1 or steps < _LEAST_STEPS:
        return open_options[0]
    try:
        chosen = fastest(probe(network, *batch(), open_options))
    except (RuntimeError, ValueError):
        chosen = open_options[0]  # what is wrong with the network, training itself will say
    torch.cuda.empty_cache()  # several copies of the network were there, which training does not need
    return chosen


def fastest(probed: Sequence[ProbeResult]) -> ExecutionSettings:
    """Return the fastest correct option that clearly beats the first, or the first."""
    plain = probed[0]
    best = min((found for found in probed if found.correct), key=lambda found: found.step_s, default=plain)
    return best.execution if best.step_s <= _CLEAR_WIN * plain.step_s else plain.execution


def probe(network: nn.Module, images: Tensor, labels: Tensor, among: Sequence[ExecutionSettings]) -> list[ProbeResult]:
    """Time forward and backward passes of every option that works here, in turns, on copies of `network`.

    Args:
        network: As for `choose_execution`.
        images: float32 [B, C, H, W].
        labels: int64 [B].
        among: The options; the first is what the others are compared with.
    """
    with _random_state_kept(images.device):
        plain = _ProbeRun(network, images, labels, among[0])
        plain_answer = plain.answer()
        found = [(plain, 0.0, 1.0)]
        for execution in among[1:]:
            with _no_option():
                run = _ProbeRun(network, images, labels, execution)
                found.append((run, *_compared(run.answer(), plain_answer)))
        rounds = [[run.timed_step() for run, _, _ in found] for _ in range(_ROUNDS)]
    return [
        ProbeResult(execution=run.execution, step_s=min(seconds), answer_error=error, gradient_cosine=cosine)
        for (run, error, cosine), seconds in zip(found, zip(*rounds, strict=True), strict=True)
    ]


def autocast(execution: ExecutionSettings, device: torch.device) -> torch.autocast:
    """Return the context in which the network's forward pass runs in training."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=execution.precision == "bfloat16")


def torch_memory_format(execution: ExecutionSettings) -> torch.memory_format:
    """Return torch's name of the memory format."""
    return _BYTE_FORMATS[execution.memory_format]


def _overruns(convolution: nn.Conv2d) -> bool:
    """Return whether the gradient of a convolution writes past a buffer where images are channels_last.

    oneDNN's does on CPUs for strided 1x1 convolutions of fewer channels than its blocks hold, which is up to 16 (oneDNN
    issue 6035; seen with float32 in PyTorch 2.14 on AVX2): the process dies, now or later, and no handler sees it.
    """
    return (
        convolution.weight.device.type == "cpu"
        and convolution.kernel_size == (1, 1)
        and convolution.stride != (1, 1)
        and 1 < convolution.in_channels // convolution.groups < _LARGEST_BLOCK
    )


def _open(chosen: str, known: tuple[ChoiceT, ...], *, matters: bool = True) -> tuple[ChoiceT, ...]:
    """Return what `chosen` leaves of the known choices, plainest first."""
    if chosen == "auto":
        return known if matters else known[:1]
    return tuple(choice for choice in known if choice == chosen)


def _attentions(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that timm can compute with a fused kernel or without."""
    return (module for module in network.modules() if hasattr(module, "fused_attn"))


class _ProbeRun:
    """One option at work on its own copy of the network."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, execution: ExecutionSettings) -> None:
        self.execution = execution
        self._network = apply_execution(copy.deepcopy(network), execution)
        self._images = images.contiguous(memory_format=torch_memory_format(execution))
        self._labels = labels

    def answer(self) -> tuple[Tensor, Tensor]:
        """Return logits and gradient of one step, float32, under the same random numbers for every run."""
        torch.manual_seed(0)
        logits = self._step()
        gradients = [p.grad.float().flatten() for p in self._network.parameters() if p.grad is not None]
        return logits.detach(), torch.cat(gradients)

    def timed_step(self) -> float:
        """Return the seconds of one step."""
        _wait_for(self._images.device)
        started = time.perf_counter()
        self._step()
        _wait_for(self._images.device)
        return time.perf_counter() - started

    def _step(self) -> Tensor:
        self._network.zero_grad(set_to_none=True)
        with autocast(self.execution, self._images.device):
            logits: Tensor = self._network(self._images)
        logits = logits.float()
        cross_entropy(logits, self._labels).backward()  # type: ignore[no-untyped-call]
        return logits


@contextmanager
def _no_option() -> Iterator[None]:
    """Passes over an option that lacks an operation, or memory, here; a lost GPU context is the process's end."""
    try:
        yield
    except Exception as error:
        if is_context_lost(error):
            raise


@contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _compared(found: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return the relative error of the logits and the cosine of the gradients."""
    logits, gradient = plain
    tiny = torch.finfo(torch.float32).tiny
    return ((found[0] - logits).norm() / logits.norm().clamp(min=tiny)).item(), _cosine(found[1], gradient)


def _cosine(one: Tensor, other: Tensor) -> float:
    # In float64: in float32 the sum over millions of weights is off by a percent.
    return cosine_similarity(one.double(), other.double(), dim=0).item()
