"""Compare contenders: the best network within each budget, and the volume that all networks of a contender dominate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.against_pruning.contenders import FoundNetwork, best_within
from benchmarks.against_pruning.peers import Metric
from benchmarks.common.program import Column, Table, Verdict, mean_interval
from nas_distill.analysis.front.arithmetic import hypervolume
from nas_distill.records import Cost

OURS = "search"
_WORST_ERROR = 0.5
"""Test error of the reference point of hypervolumes."""

_SMALLEST_SHARE = 0.01
"""Share of the teacher's cost at which the hypervolume's axis of costs begins, on a logarithmic scale."""

Found = Mapping[int, Sequence[FoundNetwork]]
"""Networks of a contender, by seed."""

NAMES: dict[Metric, str] = {"num_params": "parameters", "macs": "MACs"}


def columns(shares: Sequence[float]) -> tuple[Column, ...]:
    """Return the columns of a table with these budgets."""
    budgets = (
        Column(f"top1_{share}", f"within {100 * share:g} %: top-1", "{:.1f}", f"top1_{share}_interval")
        for share in shares
    )
    return (
        Column("name", "contender"),
        *budgets,
        Column("hypervolume", "hypervolume", "{:.3f}", "hypervolume_interval"),
        Column("networks", "networks", "{:.1f}"),
        Column("epochs", "epochs", "{:.0f}"),
    )


def comparison_table(
    title: str, metric: Metric, shares: Sequence[float], teacher: Cost, contenders: Mapping[str, Found]
) -> Table:
    """Return one row for each contender, with means over seeds."""
    rows = []
    for name, found in contenders.items():
        row: dict[str, Any] = {
            "name": name,
            "networks": _mean([len(networks) for networks in found.values()]),
            "epochs": _mean([sum(network.epochs for network in networks) for networks in found.values()]),
        }
        for share in shares:
            row |= _estimate(f"top1_{share}", list(top1_within(found, metric, share, teacher).values()))
        row |= _estimate("hypervolume", list(volumes(found, metric, teacher).values()))
        rows.append(row)
    return Table(title=title, columns=columns(shares), rows=tuple(rows))


def verdicts(metric: Metric, shares: Sequence[float], teacher: Cost, contenders: Mapping[str, Found]) -> list[Verdict]:
    """Return whether the search is behind a peer within a budget beyond the interval, and ahead in hypervolume.

    One seed has no interval: its differences are findings without a target.
    """
    ours, found = contenders[OURS], []
    for peer, theirs in contenders.items():
        if peer == OURS:
            continue
        for share in shares:
            gains = _differences(top1_within(ours, metric, share, teacher), top1_within(theirs, metric, share, teacher))
            text = f"{100 * share:g} % of the {NAMES[metric]}: {{}} points to {peer} (target: not behind)"
            found += _judged(gains, text, "{:+.2f}", lambda mean, half_width: mean + half_width >= 0)
        gains = _differences(volumes(ours, metric, teacher), volumes(theirs, metric, teacher))
        text = f"hypervolume by {NAMES[metric]}: {{}} to {peer} (target: ahead)"
        found += _judged(gains, text, "{:+.3f}", lambda mean, _: mean > 0)
    return found


def _judged(gains: Sequence[float], text: str, spec: str, is_met: Callable[[float, float], bool]) -> list[Verdict]:
    """Return the verdict on paired differences; none without any."""
    if not gains:
        return []
    mean, half_width = mean_interval(gains)
    if not math.isfinite(half_width):
        return [Verdict(text=text.format(f"{spec.format(mean)}, one seed,"))]
    written = f"{spec.format(mean)} +- {spec.replace('+', '').format(half_width)}"
    return [Verdict(text=text.format(written), met=is_met(mean, half_width))]


def top1_within(found: Found, metric: Metric, share: float, teacher: Cost) -> dict[int, float]:
    """Return the test accuracy in percent of the best network within a share of the teacher's cost, by seed."""
    largest = share * _cost(teacher, metric)
    chosen = {seed: best_within(networks, metric, largest) for seed, networks in found.items()}
    return {seed: 100 * network.test_top1 for seed, network in chosen.items() if network is not None}


def volumes(found: Found, metric: Metric, teacher: Cost) -> dict[int, float]:
    """Return the dominated volume by seed, as a share of the largest possible.

    The axes are the logarithm of the cost, from 1 % of the teacher's to all of it, and the error on the test images,
    from 0 to 50 %.
    """
    return {seed: _volume(networks, metric, _cost(teacher, metric)) for seed, networks in found.items()}


def _volume(networks: Sequence[FoundNetwork], metric: Metric, teacher_cost: int) -> float:
    # Networks are chosen on validation: those that another one beats there would only be luck on the test images.
    kept = [
        network
        for network in networks
        if not any(
            other.cost(metric) < network.cost(metric) and other.validation_top1 >= network.validation_top1
            for other in networks
        )
    ]
    points = [
        (
            max(1 - math.log(network.cost(metric) / teacher_cost) / math.log(_SMALLEST_SHARE), 0.0),
            (1 - network.test_top1) / _WORST_ERROR,
        )
        for network in kept
    ]
    return hypervolume(np.asarray(points, dtype=np.float64).reshape(-1, 2), (1.0, 1.0))


def _differences(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def _cost(cost: Cost, metric: Metric) -> int:
    return cost.num_params if metric == "num_params" else cost.macs


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _estimate(key: str, values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {}
    mean, half_width = mean_interval(values)
    return {key: mean, f"{key}_interval": half_width if math.isfinite(half_width) else None}
