"""A search space whose students have faults at known points of their training (see `tests.search.faults`).

Tests give this file to searches as their space, so that workers import it and know the architecture `faulty_net`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from timm.models import register_model
from torch import nn

from nas_distill.models.small_resnet import small_resnet
from nas_distill.records import SpaceTrial, StudentSpec


@register_model  # type: ignore[untyped-decorator]  # timm has no types here
def faulty_net(
    pretrained: bool = False,
    *,
    width: int = 4,
    action: str = "",
    marker: str = "",
    after: str = "",
    once: bool = True,
    mode: str = "train",
    **arguments: Any,
) -> nn.Module:
    network: Any = small_resnet(pretrained, widths=(width, width + 2), depths=(1, 1), **arguments)
    in_worker = "default_worker" in sys.argv[0]

    def fail(module: nn.Module, inputs: Any) -> None:
        if not in_worker or not action or module.training != (mode == "train"):
            return
        if Path(marker).exists() or (after and not Path(after).exists()):
            return
        if once:
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:  # another process was faster
                return
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            time.sleep(60.0)  # until the process is killed

    network.pretrained_cfg["architecture"] = "faulty_net"  # what a saved teacher names as its architecture
    student: nn.Module = network
    first = next(module for module in student.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(fail)
    return student


def space(trial: SpaceTrial) -> StudentSpec:
    """Return the candidate that the environment variable plans for this trial."""
    plan = json.loads(os.environ["NAS_DISTILL_TEST_FAULTS"])
    widths = plan["widths"]
    width = widths[min(trial.number, len(widths) - 1)]
    width = trial.suggest_int("width", width, width)
    fault = plan["faults"].get(str(trial.number), {})
    return StudentSpec(architecture="faulty_net", arguments={**fault, "width": width}, family="faulty")
