"""Small teachers and images for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from nas_distill.config import LOCAL_DIR
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir

CLASSES = ("ant", "bee", "cat")
SMALL: dict[str, Any] = {"widths": (4, 6), "depths": (1, 1)}


def make_network(
    architecture: str = "small_resnet", arguments: dict[str, Any] | None = None, *, channels: int = 1, classes: int = 3
) -> nn.Module:
    """Return a network whose BatchNorm statistics come from real batches."""
    torch.manual_seed(0)
    arguments = SMALL if arguments is None else arguments
    network: nn.Module = timm.create_model(architecture, num_classes=classes, in_chans=channels, **arguments)
    network.train()
    with torch.no_grad():
        network(torch.rand(8, channels, 32, 32))
    return network.eval()


def make_folder(folder: Path, network: nn.Module, **changes: Any) -> str:
    settings: dict[str, Any] = {
        "arguments": SMALL, "class_names": CLASSES, "channels": 1, "image_size": 8, "mean": (0.3,), "std": (0.2,),
    }  # fmt: skip
    save_local_dir(network, folder, **{**settings, **changes})
    return f"{LOCAL_DIR}{folder}"


def images(count: int = 4, channels: int = 1, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def load(model: str, **changes: Any) -> Teacher:
    return load_teacher(model, **{"class_names": CLASSES, "channels": 1, **changes})
