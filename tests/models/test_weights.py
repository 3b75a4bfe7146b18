"""`save_weights`: written weights can be loaded into the same network."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from nas_distill.models.weights import save_weights


@pytest.mark.parametrize("architecture", ["coat_lite_tiny", "small_resnet"])
def test_saved_weights_are_equal_when_loaded_tied_ones_too(architecture: str, tmp_path: Path) -> None:
    network = timm.create_model(architecture, num_classes=3).to(memory_format=torch.channels_last)
    save_weights(network, tmp_path / "weights.safetensors")
    stored = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    own = network.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[name], own[name]) for name in own)
    if architecture == "coat_lite_tiny":
        places = [value.data_ptr() for value in own.values()]
        assert len(set(places)) < len(places), "it has tied weights"
    timm.create_model(architecture, num_classes=3).load_state_dict(stored)
