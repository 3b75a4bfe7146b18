"""Storing the teacher's answers: what is stored, what is told, and what a cut-off build leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from nas_distill.data.views.batches import view_batches
from nas_distill.errors import RunError, TeacherError
from nas_distill.knowledge import build as building
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardJob
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.writing import write_shard
from nas_distill.models.preprocess import Preprocess
from tests.helpers import CPU, Heard, SmallRun, file_size_limit
from tests.knowledge.helpers import HALF_ULP, Cramped, Cut, Noisy, build, build_computed, other_bias, times
from tests.knowledge.synthetic import make_split, make_teacher


def open_shared(small: SmallRun) -> Knowledge:
    return Knowledge(small.run.knowledge / small.knowledge_id)


def everything(knowledge: Knowledge, view: int) -> torch.Tensor:
    return knowledge.shard(view, CPU).logits(torch.arange(knowledge.manifest.shape.num_images))


def test_views_differ_from_one_another(small_run: SmallRun) -> None:
    knowledge = open_shared(small_run)
    assert not torch.equal(everything(knowledge, 0), everything(knowledge, 1))


def test_the_manifest_states_the_rounding_that_was_made(small_run: SmallRun) -> None:
    knowledge = open_shared(small_run)
    largest = max(everything(knowledge, view).abs().max().item() for view in range(4))
    assert 0 < knowledge.manifest.errors.max_rounding <= largest * HALF_ULP * 1.01
    assert knowledge.manifest.errors.divergence == ()


def test_reference_answers_are_those_of_the_teacher_to_plain_images(small_run: SmallRun) -> None:
    reference = open_shared(small_run).reference()
    (batch,) = small_run.validation.batches(torch.arange(160), 160, device=CPU)
    torch.testing.assert_close(reference.validation, small_run.teacher(batch.images), rtol=1e-5, atol=1e-5)
    (subset,) = small_run.train.batches(reference.subset_indices, 320, device=CPU)
    torch.testing.assert_close(reference.subset, small_run.teacher(subset.images), rtol=1e-5, atol=1e-5)
    assert len(set(reference.subset_indices.tolist())) == len(reference.subset_indices)


def test_the_same_answers_are_built_once(small_run: SmallRun, tmp_path: Path) -> None:
    first = build(small_run, tmp_path)
    written = times(first.folder)
    heard = Heard()
    second = build(small_run, tmp_path, progress=heard)
    assert second.folder == first.folder
    assert times(second.folder) == written
    assert heard.events == [("knowledge", f"the teacher's answers are stored already ({first.folder.name})")]


def test_online_knowledge_stores_no_views(small_run: SmallRun, tmp_path: Path) -> None:
    knowledge = build(small_run, tmp_path, online=True, storage=OutputStorage(top_k=3, embeddings=True))
    assert not list(knowledge.folder.glob("views/*"))
    assert knowledge.reference().validation.shape == (160, 10)
    with pytest.raises(IndexError, match="view 0 is not stored"):
        knowledge.shard(0, CPU)


def test_what_decides_the_answers_decides_the_folder(small_run: SmallRun, tmp_path: Path) -> None:
    folders = [build(small_run, tmp_path).folder]
    with other_bias(small_run, 0, 1.0):
        folders.append(build(small_run, tmp_path).folder)
    kept = small_run.teacher.preprocess
    small_run.teacher.preprocess = Preprocess(mean=(0.4,), std=kept.std, image_size=kept.image_size)
    try:
        folders.append(build(small_run, tmp_path).folder)
    finally:
        small_run.teacher.preprocess = kept
    folders += [
        build(small_run, tmp_path, storage=OutputStorage(top_k=3)).folder,
        build(small_run, tmp_path, storage=OutputStorage(embeddings=True)).folder,
        build(small_run, tmp_path, online=True).folder,
    ]
    assert len(set(folders)) == len(folders)
    assert build(small_run, tmp_path, storage=OutputStorage(top_k=10)).folder == folders[0]  # all of ten is all


def test_an_interrupted_build_is_not_used_and_goes_on(small_run: SmallRun, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(small_run, tmp_path, progress=Cut(images=2 * 320 + 1))
    (folder,) = tmp_path.iterdir()
    with pytest.raises(RunError, match=r"manifest\.json: cannot be read: No such file"):
        Knowledge(folder)
    finished = times(folder)
    assert {"views/00000.json", "views/00001.json", "reference.json"} <= set(finished)
    assert not any(name.endswith(".tmp") or name.startswith("views/00002") for name in finished)

    heard = Heard()
    knowledge = build(small_run, tmp_path, progress=heard)
    assert "2 views stored already; asking the teacher about 2 views x 320 images" in heard.texts("knowledge")[0]
    assert not heard.texts("warning")
    assert finished.items() <= times(folder).items()
    whole = build(small_run, tmp_path / "whole")
    assert all(torch.equal(everything(knowledge, view), everything(whole, view)) for view in range(4))
    assert knowledge.manifest.errors == whole.manifest.errors


def test_a_killed_build_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.knowledge.slow_build", str(tmp_path / "k")], stdout=stream, stderr=stream
        )
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("k/*/views/*.json"))) < 2 or not list(tmp_path.glob("k/*/views/.*.tmp")):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    (folder,) = (tmp_path / "k").iterdir()
    finished = {name: written for name, written in times(folder).items() if not name.endswith(".tmp")}
    assert not (folder / "manifest.json").exists()
    heard = Heard()
    knowledge = build_computed(tmp_path / "k", num_images=1000, progress=heard)
    assert knowledge.folder == folder
    assert "2 views stored already; asking the teacher about 2 views" in heard.texts("knowledge")[0]
    assert finished.items() <= times(folder).items()
    assert not list(folder.rglob("*.tmp"))
    assert [everything(knowledge, view).shape for view in range(4)] == [(1000, 5)] * 4


def test_sizes_are_told_before_anything_is_built(small_run: SmallRun, tmp_path: Path) -> None:
    heard = Heard()
    build(small_run, tmp_path, progress=heard, storage=OutputStorage(top_k=3, embeddings=True))
    # 3 float16 logits, 3 uint16 classes, a float32 tail, 24 float16 features.
    assert "asking the teacher about 4 views x 320 images x 64 bytes = 80.0 KiB, " in heard.texts("knowledge")[0]
    assert "keeping the 3 largest of 10 logits costs " in heard.texts("knowledge")[1]


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_refused_for_what_is_missing(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, 320 * 20 * 2))
    with pytest.raises(RunError, match=r"need 4 views x .* = 25\.0 KiB, 12\.5 KiB are free; lower views\.count"):
        build(small_run, tmp_path)
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt):
        build(small_run, tmp_path, progress=Cut(images=2 * 320 + 1))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, 320 * 20 * 2))
    build(small_run, tmp_path)


@pytest.mark.parametrize("size", [64, 2000, 20_000])
def test_a_disk_that_fills_up_while_building_is_told_and_loses_nothing(tmp_path: Path, size: int) -> None:
    with (
        file_size_limit(size),
        pytest.raises(RunError, match="cannot be stored: File too large; free space and resume"),
    ):
        build_computed(tmp_path, num_images=4000)
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("manifest.json"))
    assert everything(build_computed(tmp_path, num_images=4000), 3).shape == (4000, 5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_a_teacher_that_answers_no_numbers_is_refused(small_run: SmallRun, tmp_path: Path, bad: float) -> None:
    with (
        other_bias(small_run, 3, bad),
        pytest.raises(TeacherError, match="for a logit; finite values up to 65504"),
    ):
        build(small_run, tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_a_teacher_that_contradicts_itself_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"answers the same 300 images differently when asked twice .*dropout"):
        build_computed(tmp_path, network=Noisy(5, noise=0.1))
    assert not list(tmp_path.rglob("*.npy"))


def test_noise_below_the_rounding_of_what_is_stored_is_no_contradiction(tmp_path: Path) -> None:
    assert build_computed(tmp_path, network=Noisy(5, noise=1e-6)).manifest.key.num_shards == 4


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    network = Cramped(5, most=10_000)
    roomy = build_computed(tmp_path / "roomy", network=network)
    network.most = 19
    cramped = build_computed(tmp_path / "cramped", network=network)
    torch.testing.assert_close(everything(cramped, 2), everything(roomy, 2), rtol=2 * HALF_ULP, atol=1e-5)


def test_a_device_without_room_for_one_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="no room for linear and one image of 4 pixels"):
        build_computed(tmp_path, network=Cramped(5, most=0))


class InProcess:
    """A pool of one process, this one, that says it has several."""

    def __init__(self, small: SmallRun, count: int) -> None:
        self._small = small
        self._count = count
        self.written: list[int] = []

    def workers(self, views: int) -> int:
        return min(views, self._count)

    def write(self, job: ShardJob, views: Sequence[int]) -> Iterator[int]:
        inference = TeacherInference(self._small.teacher, CPU, embeddings=job.key.embeddings)
        for view in reversed(views):
            write_shard(job, view, inference, self._small.train)
            self.written.append(view)
            yield view


@pytest.mark.parametrize(("worth_s", "count"), [(0.0, 2), (0.0, 1), (1e3, 2)])
def test_views_are_shared_among_workers_when_it_is_worth_it(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth_s: float, count: int
) -> None:
    shared = (worth_s, count) == (0.0, 2)
    monkeypatch.setattr(building, "_WORTH_WORKERS_S", worth_s)
    pool, heard = InProcess(small_run, count), Heard()
    knowledge = build(small_run, tmp_path, pool=pool, progress=heard)
    assert sorted(pool.written) == ([0, 1, 2, 3] if shared else [])
    assert ("2 workers share the views" in heard.texts("knowledge")) == shared
    assert knowledge.manifest.errors == open_shared(small_run).manifest.errors


def test_a_thousand_classes_keep_the_largest_by_default(tmp_path: Path) -> None:
    knowledge = build_computed(tmp_path, num_classes=1000)
    assert knowledge.manifest.key.top_k == 32
    assert {path.name for path in (knowledge.folder / "views").glob("00003*")} == {
        "00003.json", "00003.tail.npy", "00003.top_classes.npy", "00003.top_logits.npy",
    }  # fmt: skip
    assert [error.temperature for error in knowledge.manifest.errors.divergence] == [1.0, 4.0]


def test_the_manifest_states_what_the_largest_leave_out(tmp_path: Path) -> None:
    teacher, train = make_teacher(50), make_split(300, 50)
    knowledge = build_computed(tmp_path, num_classes=50, storage=OutputStorage(top_k=5))
    divergences: dict[float, list[torch.Tensor]] = {1.0: [], 4.0: []}
    for view in range(4):
        for batch in view_batches(
            train, torch.arange(300), 300, view=view, plan=knowledge.manifest.key.plan, device=CPU
        ):
            stored = knowledge.shard(view, CPU).logits(batch.indices)
            for temperature, found in divergences.items():
                expected = (teacher(batch.images) / temperature).double().log_softmax(1)
                got = (stored / temperature).double().log_softmax(1)
                found.append((expected.exp() * (expected - got)).sum(1))
    for stated in knowledge.manifest.errors.divergence:
        measured = torch.cat(divergences[stated.temperature])
        assert stated.mean_nats == pytest.approx(measured.mean().item(), rel=1e-3)
        assert stated.max_nats == pytest.approx(measured.max().item(), rel=1e-3)
    more = build_computed(tmp_path, num_classes=50, storage=OutputStorage(top_k=20))
    assert more.manifest.errors.divergence[0].mean_nats < knowledge.manifest.errors.divergence[0].mean_nats
