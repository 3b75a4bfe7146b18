"""Faults at known points of a training, for workers in other processes (see `faulty_space`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from nas_distill.records import StudentSpec

FAULTY_SPACE = str(Path(__file__).with_name("faulty_space.py"))
"""File of the search space that registers `faulty_net`."""

PLAN = "NAS_DISTILL_TEST_FAULTS"
"""Environment variable with the candidates of `FAULTY_SPACE`, see `plan`."""


def faulty_spec(
    action: Literal["die", "hold"],
    *,
    marker: Path,
    after: Path | None = None,
    once: bool = True,
    width: int = 4,
    mode: Literal["train", "eval"] = "train",
) -> StudentSpec:
    """Return a student with a fault in a forward pass in a worker process.

    Args:
        action: "die" kills the worker; "hold" blocks it until it is killed, so that a test can act at this point.
        marker: Created when the fault happens, if `once`. With this file there is no fault (any more).
        after: The fault happens once this file exists, such as a trial's checkpoint; None: in the first forward pass.
        once: Whether the fault happens once.
        width: Width of the network.
        mode: Mode of the network in which the fault happens.
    """
    fault = {"action": action, "marker": str(marker), "after": str(after or ""), "once": once, "mode": mode}
    return StudentSpec(architecture="faulty_net", arguments={"width": width, **fault})


def plan(widths: Sequence[int], specs: Mapping[int, StudentSpec]) -> dict[str, str]:
    """Return the environment variable that decides the candidates of `FAULTY_SPACE`.

    Args:
        widths: Width of the student of each trial, in order.
        specs: Trial number -> the student with a fault; other trials have none.
    """
    faults = {number: dict(spec.arguments) for number, spec in specs.items()}
    return {PLAN: json.dumps({"widths": list(widths), "faults": faults})}
