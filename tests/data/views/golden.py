"""Digests of views, which never change. Imports little: processes with other settings of the CPU compute them again."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from nas_distill.data.views.render import render_view
from tests.data.factory import EVERYTHING, make_plan


def golden_digests() -> dict[str, str]:
    digests = {}
    for channels, size in ((3, 32), (1, 28), (3, 96)):
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, channels, size, size), np.uint8))
        views = [render_view(images, torch.arange(40), 5, plan) for plan in (make_plan(), EVERYTHING)]
        digests[f"{channels}x{size}"] = hashlib.sha256(torch.cat(views).numpy().tobytes()).hexdigest()[:16]
    return digests


# The teacher's stored outputs belong to these exact pixels. A change of the pixels must change the plan's digest too.
GOLDEN = {"3x32": "ee3074f0574fdd48", "1x28": "1d8d44640cc91fe2", "3x96": "e184e49fc47fc0aa"}
