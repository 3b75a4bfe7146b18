"""Digests of views, which never change. Imports little: processes with other settings of the CPU compute them again."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from nas_distill.data.views.render import render_view
from tests.data.factory import CROPS, EVERYTHING, PHOTOS, make_plan


def golden_digests() -> dict[str, str]:
    digests = {}
    for channels, size in ((3, 32), (1, 28), (3, 96)):
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, channels, size, size), np.uint8))
        for name, plans in {"": (make_plan(), EVERYTHING), " photos": (CROPS, PHOTOS)}.items():
            views = [render_view(images, torch.arange(40), 5, plan) for plan in plans]
            digest = hashlib.sha256(torch.cat(views).numpy().tobytes()).hexdigest()[:16]
            digests[f"{channels}x{size}{name}"] = digest
    return digests


# The teacher's stored outputs belong to these exact pixels. A change of the pixels must change the plan's digest too.
GOLDEN = {
    "3x32": "ee3074f0574fdd48", "1x28": "1d8d44640cc91fe2", "3x96": "e184e49fc47fc0aa",
    "3x32 photos": "70163a0182bcf4f5", "1x28 photos": "7a6b902e21f0f40d", "3x96 photos": "15f8d13197bf03f4",
}  # fmt: skip
