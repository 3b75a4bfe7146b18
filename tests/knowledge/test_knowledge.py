from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_distill.data.views import render_view
from nas_distill.errors import RunError, TeacherError
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets
from nas_distill.progress import Silent
from tests.helpers import CPU, Heard, SmallRun

HALF_ULP = 2.0**-11
"""Relative rounding of float16."""


def build(small: SmallRun, root: Path, *, online: bool = False, progress: Silent | None = None) -> Knowledge:
    return build_knowledge(
        small.teacher,
        train=small.train,
        validation=small.validation,
        plan=small.plan,
        online=online,
        root=root,
        device=CPU,
        progress=progress or Silent(),
    )


def open_shared(small: SmallRun) -> Knowledge:
    return Knowledge(small.run.knowledge / small.knowledge_id)


@pytest.mark.parametrize("view", range(4))
def test_stored_and_online_targets_agree_for_the_same_views(small_run: SmallRun, view: int) -> None:
    order = torch.randperm(small_run.train.num_images, generator=torch.Generator().manual_seed(view))
    stored = StoredTargets(open_shared(small_run), CPU)
    online = OnlineTargets(small_run.teacher)
    for batch in small_run.train.batches(order, 50, device=CPU):
        images = render_view(batch.images, batch.indices, view, small_run.plan)
        expected = online.logits(view, batch.indices, images)
        torch.testing.assert_close(
            stored.logits(view, batch.indices, images), expected, rtol=HALF_ULP, atol=2e-5
        )  # atol: the teacher's own batch-size dependent rounding near zero


def test_views_differ_from_one_another(small_run: SmallRun) -> None:
    knowledge = open_shared(small_run)
    assert not torch.equal(knowledge.slab(0), knowledge.slab(1))


def test_the_manifest_states_the_rounding_that_was_made(small_run: SmallRun) -> None:
    knowledge = open_shared(small_run)
    largest = max(knowledge.slab(view).float().abs().max().item() for view in range(4))
    assert 0 < knowledge.manifest.max_rounding_error <= largest * HALF_ULP * 1.01


def test_reference_answers_are_those_of_the_teacher_to_plain_images(small_run: SmallRun) -> None:
    reference = open_shared(small_run).reference()
    (batch,) = small_run.validation.batches(torch.arange(160), 160, device=CPU)
    torch.testing.assert_close(reference.validation, small_run.teacher(batch.images), rtol=1e-5, atol=1e-5)
    (subset,) = small_run.train.batches(reference.subset_indices, 320, device=CPU)
    torch.testing.assert_close(reference.subset, small_run.teacher(subset.images), rtol=1e-5, atol=1e-5)
    assert len(set(reference.subset_indices.tolist())) == len(reference.subset_indices)


def test_the_same_answers_are_built_once(small_run: SmallRun, tmp_path: Path) -> None:
    first = build(small_run, tmp_path)
    written = (first.folder / "train_logits.npy").stat().st_mtime_ns
    heard = Heard()
    second = build(small_run, tmp_path, progress=heard)
    assert second.folder == first.folder
    assert (second.folder / "train_logits.npy").stat().st_mtime_ns == written
    assert "stored already" in heard.texts("knowledge")[0]


def test_online_knowledge_stores_no_views(small_run: SmallRun, tmp_path: Path) -> None:
    knowledge = build(small_run, tmp_path, online=True)
    assert not (knowledge.folder / "train_logits.npy").exists()
    assert knowledge.reference().validation.shape == (160, 10)
    with pytest.raises(IndexError, match="view 0 is not stored"):
        knowledge.slab(0)


def test_another_teacher_gets_another_folder(small_run: SmallRun, tmp_path: Path) -> None:
    first = build(small_run, tmp_path)
    bias = small_run.teacher.network.get_parameter("fc.bias")
    kept = bias.data.clone()
    bias.data[0] += 1.0
    try:
        second = build(small_run, tmp_path)
    finally:
        bias.data.copy_(kept)
    assert second.folder != first.folder


def test_a_half_built_folder_is_never_used(small_run: SmallRun, tmp_path: Path) -> None:
    class Cut(Silent):
        def step(self, task: str, done: int, total: int, detail: str = "") -> None:
            if done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(small_run, tmp_path, progress=Cut())
    assert list(tmp_path.iterdir()) == []
    assert build(small_run, tmp_path).slab(3).shape == (320, 10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_a_teacher_that_answers_no_numbers_is_refused(small_run: SmallRun, tmp_path: Path, bad: float) -> None:
    bias = small_run.teacher.network.get_parameter("fc.bias")
    kept = bias.data.clone()
    bias.data[3] = bad
    try:
        with pytest.raises(TeacherError, match="finite values up to 65504"):
            build(small_run, tmp_path)
    finally:
        bias.data.copy_(kept)


def test_damaged_arrays_are_named_with_the_way_out(small_run: SmallRun, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_run.run.knowledge / small_run.knowledge_id, folder)
    (folder / "train_logits.npy").write_bytes(b"\x93NUMPY torn")
    with pytest.raises(RunError, match=r"train_logits\.npy: cannot be read.*delete .* and resume"):
        Knowledge(folder)
    np.save(folder / "train_logits.npy", np.zeros((4, 7, 10), dtype=np.float16))
    with pytest.raises(RunError, match=r"has shape \(4, 7, 10\), its manifest says \(4, 320, 10\)"):
        Knowledge(folder)


def test_pickled_arrays_are_not_opened(small_run: SmallRun, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_run.run.knowledge / small_run.knowledge_id, folder)
    np.save(folder / "train_logits.npy", np.array([{"any": "code"}], dtype=object), allow_pickle=True)
    with pytest.raises(RunError, match="cannot be read"):
        Knowledge(folder)
