"""Choose precision, memory format and attention of a training by timing a few steps with each option.

The fastest option depends on architecture, size and device: bfloat16 doubles the speed of one network and slows down
another. So it is measured for each candidate.
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
"""Timed rounds per option, after one pass that warms up and checks the results of the option."""

_LEAST_STEPS = 40 * (_ROUNDS + 1)
"""Trainings with fewer steps are not probed: the probe would cost more than a tenth of them."""

_CLEAR_WIN = 0.9
"""An option must take at most this share of the time of plain float32. A tie does not justify other arithmetic."""

LOGITS_TOLERANCE = 0.05
"""Largest accepted relative error of an option's logits against plain float32 (L2 norm over a batch)."""

GRADIENT_TOLERANCE = 0.9
"""Smallest accepted cosine between an option's gradient and that of plain float32."""

_LARGEST_BLOCK = 16
"""Block size in channels of oneDNN's convolutions with AVX-512; 8 with AVX2."""

_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_ATTENTIONS: tuple[Attention, ...] = ("fused", "plain")
_BYTE_FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The probe's measurements of one option.

    Attributes:
        execution: Option.
        step_s: Duration of a forward and backward pass, seconds. The minimum over rounds, because other processes can
            only increase it.
        logits_error: Relative error of its logits against the first option.
        gradient_cosine: Cosine between its gradient and that of the first option.
    """

    execution: ExecutionSettings
    step_s: float
    logits_error: float
    gradient_cosine: float

    @property
    def correct(self) -> bool:
        """Whether logits and gradient agree with those of the first option within the tolerances."""
        return self.logits_error <= LOGITS_TOLERANCE and self.gradient_cosine >= GRADIENT_TOLERANCE


def candidate_executions(config: ExecutionConfig, network: nn.Module) -> list[ExecutionSettings]:
    """Return the options that `config` allows, that matter for `network` and are safe for it, plainest first."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    formats = _allowed(config.memory_format, tuple(_BYTE_FORMATS), matters=len(convolutions) > 1)
    if any(_overruns(convolution) for convolution in convolutions):
        formats = ("contiguous",)
    attentions = _allowed(config.attention, _ATTENTIONS, matters=any(True for _ in _attentions(network)))
    return [
        ExecutionSettings(precision=precision, memory_format=memory_format, attention=attention)
        for precision in _allowed(config.precision, _PRECISIONS)
        for memory_format in formats
        for attention in attentions
    ]


def apply_execution(network: nn.Module, execution: ExecutionSettings) -> nn.Module:
    """Set the memory format and the attention of `network` to those of `execution`, and return it."""
    for module in _attentions(network):
        module.fused_attn = execution.attention == "fused"  # type: ignore[assignment]
    return network.to(memory_format=torch_memory_format(execution))


def choose_execution(
    network: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]], config: ExecutionConfig, *, steps: int
) -> ExecutionSettings:
    """Return the execution settings of a training. Network, gradients and random state do not change.

    Args:
        network: Network in training mode on its device.
        batch: Function that returns images, float32 [B, C, H, W], and labels, int64 [B], as in training; B may be
            smaller.
        config: Settings; those on "auto" are chosen here.
        steps: Number of steps of the training. Short trainings are not probed.
    """
    open_options = candidate_executions(config, network)
    if len(open_options) == 1 or steps < _LEAST_STEPS:
        return open_options[0]
    try:
        chosen = fastest(probe(network, *batch(), open_options))
    except (RuntimeError, ValueError):
        chosen = open_options[0]  # the training itself reports what is wrong with the network
    torch.cuda.empty_cache()  # free the copies of the network
    return chosen


def fastest(probed: Sequence[ProbeResult]) -> ExecutionSettings:
    """Return the fastest correct option if it is clearly faster than the first, otherwise the first."""
    plain = probed[0]
    best = min((found for found in probed if found.correct), key=lambda found: found.step_s, default=plain)
    return best.execution if best.step_s <= _CLEAR_WIN * plain.step_s else plain.execution


def probe(network: nn.Module, images: Tensor, labels: Tensor, among: Sequence[ExecutionSettings]) -> list[ProbeResult]:
    """Time forward and backward passes of every option that works here, in alternation, on copies of `network`.

    Args:
        network: Network in training mode on its device.
        images: Images, float32 [B, C, H, W].
        labels: Labels, int64 [B].
        among: Options. The others are compared with the first.
    """
    with _random_state_restored(images.device):
        plain = _ProbeRun(network, images, labels, among[0])
        expected = plain.logits_and_gradient()
        found = [(plain, 0.0, 1.0)]
        for execution in among[1:]:
            with _skip_on_error():
                run = _ProbeRun(network, images, labels, execution)
                found.append((run, *_compared(run.logits_and_gradient(), expected)))
        rounds = [[run.timed_step() for run, _, _ in found] for _ in range(_ROUNDS)]
    return [
        ProbeResult(execution=run.execution, step_s=min(seconds), logits_error=error, gradient_cosine=cosine)
        for (run, error, cosine), seconds in zip(found, zip(*rounds, strict=True), strict=True)
    ]


def autocast(execution: ExecutionSettings, device: torch.device) -> torch.autocast:
    """Return the autocast context of the forward pass in training."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=execution.precision == "bfloat16")


def torch_memory_format(execution: ExecutionSettings) -> torch.memory_format:
    """Return torch's name of the memory format."""
    return _BYTE_FORMATS[execution.memory_format]


def _overruns(convolution: nn.Conv2d) -> bool:
    """Return whether the gradient of a convolution writes past a buffer in channels_last format.

    oneDNN does so on CPUs for strided 1x1 convolutions with fewer channels than a block, up to 16 (oneDNN issue 6035;
    seen with float32 in PyTorch 2.14 on AVX2). The process then crashes, at once or later, without a Python error.
    """
    return (
        convolution.weight.device.type == "cpu"
        and convolution.kernel_size == (1, 1)
        and convolution.stride != (1, 1)
        and 1 < convolution.in_channels // convolution.groups < _LARGEST_BLOCK
    )


def _allowed(chosen: str, known: tuple[ChoiceT, ...], *, matters: bool = True) -> tuple[ChoiceT, ...]:
    """Return the known choices that `chosen` allows, plainest first."""
    if chosen == "auto":
        return known if matters else known[:1]
    return tuple(choice for choice in known if choice == chosen)


def _attentions(network: nn.Module) -> Iterator[nn.Module]:
    """Return the attention modules of timm, which have a fused and a plain implementation."""
    return (module for module in network.modules() if hasattr(module, "fused_attn"))


class _ProbeRun:
    """One option with its own copy of the network."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, execution: ExecutionSettings) -> None:
        self.execution = execution
        self._network = apply_execution(copy.deepcopy(network), execution)
        self._images = images.contiguous(memory_format=torch_memory_format(execution))
        self._labels = labels

    def logits_and_gradient(self) -> tuple[Tensor, Tensor]:
        """Return logits and gradient of one step in float32, with the same random numbers for every option."""
        torch.manual_seed(0)
        logits = self._step()
        gradients = [p.grad.float().flatten() for p in self._network.parameters() if p.grad is not None]
        return logits.detach(), torch.cat(gradients)

    def timed_step(self) -> float:
        """Return the duration of one step, seconds."""
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
def _skip_on_error() -> Iterator[None]:
    """Skip an option that fails here, for example for lack of memory. A lost GPU context is raised."""
    try:
        yield
    except Exception as error:
        if is_context_lost(error):
            raise


@contextmanager
def _random_state_restored(device: torch.device) -> Iterator[None]:
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
    # In float64, because in float32 the sum over millions of weights has an error of about one percent.
    return cosine_similarity(one.double(), other.double(), dim=0).item()
