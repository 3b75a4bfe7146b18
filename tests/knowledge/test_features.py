"""The teacher's features of validation images: positions, values and verification."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.errors import RunError
from nas_distill.knowledge.features import MAX_IMAGES, feature_positions
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.store import Knowledge
from nas_distill.model_outputs import OutputRequest
from tests.helpers import Heard, SmallRun
from tests.knowledge.helpers import Noisy, build, build_computed

FEATURES = "validation_features.npy"


@given(st.integers(1, 3 * MAX_IMAGES))
def test_positions_are_spread_over_the_split(num_images: int) -> None:
    positions = feature_positions(num_images)
    assert len(positions) == min(num_images, MAX_IMAGES)
    steps = positions.diff()
    assert positions[0] == 0
    assert num_images > positions[-1]
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_stored_features_equal_the_features_of_the_teacher(small_run: SmallRun, tmp_path: Path) -> None:
    stored = build(small_run, tmp_path).reference().features
    (batch,) = small_run.validation.batches(torch.arange(160), 160, device=torch.device("cpu"))
    expected = small_run.teacher.outputs(batch.images, OutputRequest(embedding=True)).embedding
    assert stored is not None
    assert expected is not None
    torch.testing.assert_close(stored, expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_without_features_is_stored_without_them(tmp_path: Path) -> None:
    network = Noisy(5, noise=0.0)  # has no timm interface
    knowledge = build_computed(tmp_path, network=network, storage=OutputStorage(embeddings=False))
    assert knowledge.reference().features is None
    assert not (knowledge.folder / FEATURES).exists()


def test_damaged_features_are_rejected_and_written_again(small_run: SmallRun, tmp_path: Path) -> None:
    folder = build(small_run, tmp_path).folder
    stored = Knowledge(folder).reference().features
    assert stored is not None
    expected = stored.clone()  # the stored tensor is a memory map of the file that is damaged next
    (folder / FEATURES).write_bytes((folder / FEATURES).read_bytes()[:-9])
    with pytest.raises(RunError) as caught:
        Knowledge(folder).reference()
    assert (caught.value.code, caught.value.field) == ("knowledge.damaged_file", str(folder / FEATURES))
    heard = Heard()
    written = build(small_run, tmp_path, progress=heard).reference().features
    (warning,) = heard.texts("warning")
    assert FEATURES in warning
    assert written is not None
    assert torch.equal(written, expected)
