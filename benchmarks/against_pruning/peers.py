"""Pruning libraries: each cuts a trained network down to a share of its parameters or multiply-accumulates.

Both are optional (`pip install -e '.[bench]'`). They are imported where they are used, because ModelOpt changes torch
when it is imported.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nas_distill.models.costs.cost import measure_module_cost
from nas_distill.records import Cost

Metric = Literal["num_params", "macs"]

FASTNAS, TORCH_PRUNING = "ModelOpt FastNAS", "torch-pruning"
MODULES = {FASTNAS: "modelopt.torch.prune", TORCH_PRUNING: "torch_pruning"}
PACKAGES = {FASTNAS: "nvidia-modelopt (with omegaconf and torchprofile)", TORCH_PRUNING: "torch-pruning"}

CHANNEL_DIVISOR = 4
"""Widths that FastNAS tries are multiples of this number. Its default of 32 is too coarse for small networks."""

_STEPS = 100
"""Number of steps of torch-pruning from no channel to all of them."""

_MOST_PRUNED = 0.9
"""Largest share of a layer's channels that torch-pruning removes, so that no layer is left with a single channel."""


def missing_peer(peer: str) -> str | None:
    """Return why a peer cannot be used and how to install it, as one line; None if it can be imported."""
    try:
        importlib.import_module(MODULES[peer])
    except ImportError as error:
        return f"{peer} is left out: {error}; pip install {PACKAGES[peer]}"
    return None


def prune(
    peer: str, network: nn.Module, *, metric: Metric, share: float, images: Tensor, score: Callable[[nn.Module], float]
) -> nn.Module:
    """Return a pruned copy of a network.

    Args:
        peer: Name of the peer.
        network: Trained network.
        metric: Cost that is limited.
        share: Largest cost of the result, as a share of the network's.
        images: Normalised training images [B, C, H, W] for statistics.
        score: Accuracy of a network; FastNAS maximises it.

    Raises:
        RuntimeError: The peer found no network within the limit.
    """
    copied = copy.deepcopy(network).requires_grad_(True).eval()
    largest = share * _value(_cost(network, images), metric)
    pruner = _fastnas if peer == FASTNAS else _torch_pruning
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        pruned = pruner(copied, metric, share, images, score)
    found = _value(_cost(pruned, images), metric)
    if found > largest:
        raise RuntimeError(f"{peer}: {metric} {found:,} is above {largest:,.0f}, {100 * share:g} % of the teacher's")
    return pruned.requires_grad_(True)


def _fastnas(
    network: nn.Module, metric: Metric, share: float, images: Tensor, score: Callable[[nn.Module], float]
) -> nn.Module:
    pruning = importlib.import_module(MODULES[FASTNAS])
    rules = importlib.import_module("modelopt.torch.prune.fastnas").FastNASConfig().model_dump()
    for rule in (rule for by_name in rules.values() for rule in (by_name or {}).values() if rule):
        rule.update({key: CHANNEL_DIVISOR for key in ("channel_divisor", "feature_divisor") if key in rule})
    pruned: nn.Module
    pruned, _ = pruning.prune(
        model=network,
        mode=[("fastnas", rules)],
        constraints={"params" if metric == "num_params" else "flops": f"{100 * share:g}%"},
        dummy_input=images[:1],
        config={
            "data_loader": [(batch,) for batch in images.split(64)],
            "collect_func": lambda batch: batch[0],
            "score_func": score,
            "verbose": False,
        },
    )
    return pruned


def _torch_pruning(
    network: nn.Module, metric: Metric, share: float, images: Tensor, score: Callable[[nn.Module], float]
) -> nn.Module:
    """Prune channels with the smallest group norms, compared over all layers (Fang et al. 2023, arXiv 2301.12900)."""
    del score
    pruning: Any = importlib.import_module(MODULES[TORCH_PRUNING])
    largest = share * _value(_cost(network, images), metric)
    pruner = pruning.pruner.BasePruner(
        network,
        images[:1],
        importance=pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=1.0,
        max_pruning_ratio=_MOST_PRUNED,
        iterative_steps=_STEPS,
        ignored_layers=[network.get_classifier()],  # type: ignore[operator]
    )
    for _ in range(_STEPS):
        if _value(_cost(network, images), metric) <= largest:
            break
        pruner.step()
    return network


def _cost(network: nn.Module, images: Tensor) -> Cost:
    return measure_module_cost(network, channels=images.shape[1], image_size=images.shape[-1])


def _value(cost: Cost, metric: Metric) -> int:
    return cost.num_params if metric == "num_params" else cost.macs


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy of a network on images [B, C, H, W], 0 to 1."""
    network.eval()
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def available(peers: Sequence[str]) -> list[str]:
    """Return the peers that can be imported, and print a line for each of the others."""
    reasons = {peer: missing_peer(peer) for peer in peers}
    for reason in filter(None, reasons.values()):
        print(reason, flush=True)
    return [peer for peer, reason in reasons.items() if reason is None]
