"""Weights that are neither cached nor reachable are known before a training starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from nas_distill.models.starts.availability import missing_weights

COMMIT = "0" * 40


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def test_weights_that_are_neither_cached_nor_reachable_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = missing_weights("test_resnet")
    assert reason is not None
    assert "http://127.0.0.1:9" in reason
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    reason = missing_weights("test_resnet.r160_in1k")
    assert reason is not None
    assert "HF_HUB_OFFLINE" in reason


def test_cached_weights_are_not_missing(tmp_path: Path) -> None:
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "model.safetensors").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert missing_weights("test_resnet") is None


def test_an_architecture_without_a_repository_is_left_to_timm() -> None:
    assert missing_weights("small_resnet") is None
