"""The teacher's features of plain validation images: stored once, checked, made good in folders from before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.errors import RunError
from nas_distill.knowledge.features import MAX_IMAGES, feature_positions
from nas_distill.knowledge.store import Knowledge
from nas_distill.model_outputs import OutputRequest
from tests.helpers import Heard, SmallRun
from tests.knowledge.helpers import build, times

FEATURES, RECEIPT = "validation_features.npy", "features.json"


@given(st.integers(1, 3 * MAX_IMAGES))
def test_positions_are_spread_over_the_split(num_images: int) -> None:
    positions = feature_positions(num_images)
    assert len(positions) == min(num_images, MAX_IMAGES)
    steps = positions.diff()
    assert positions[0] == 0
    assert num_images > positions[-1]
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_features_are_the_teacher_s(small_run: SmallRun, tmp_path: Path) -> None:
    stored = build(small_run, tmp_path).reference().features
    (batch,) = small_run.validation.batches(torch.arange(160), 160, device=torch.device("cpu"))
    expected = small_run.teacher.outputs(batch.images, OutputRequest(embedding=True)).embedding
    assert stored is not None
    assert expected is not None
    torch.testing.assert_close(stored, expected, rtol=1e-4, atol=1e-5)


def test_a_folder_from_before_gets_them_and_nothing_else(small_run: SmallRun, tmp_path: Path) -> None:
    folder = build(small_run, tmp_path).folder
    for name in (FEATURES, RECEIPT):
        (folder / name).unlink()
    assert Knowledge(folder).reference().features is None
    written = times(folder)
    assert build(small_run, tmp_path).reference().features is not None
    assert {name: time for name, time in times(folder).items() if name not in {FEATURES, RECEIPT}} == written


@pytest.mark.parametrize("name", [FEATURES, RECEIPT])
def test_damage_is_told_and_mended(small_run: SmallRun, tmp_path: Path, name: str) -> None:
    folder = build(small_run, tmp_path).folder
    stored = Knowledge(folder).reference().features
    assert stored is not None
    whole = stored.clone()  # a memory map would follow the damage
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    with pytest.raises(RunError, match=f"{name}.*resume the search"):
        Knowledge(folder).reference()
    heard = Heard()
    mended = build(small_run, tmp_path, progress=heard).reference().features
    (warning,) = heard.texts("warning")
    assert name in warning
    assert mended is not None
    assert torch.equal(mended, whole)
