"""`build_knowledge`: stored files, interrupted builds, full disks and unsuitable teachers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
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
from tests.knowledge.helpers import (
    HALF_ULP,
    InterruptAt,
    LowMemory,
    Noisy,
    age_files,
    build,
    build_computed,
    other_bias,
    written_files,
)
from tests.knowledge.synthetic import make_split, make_teacher


def open_shared(small: SmallRun) -> Knowledge:
    return Knowledge(small.run.knowledge / small.knowledge_id)


def all_logits(knowledge: Knowledge, view: int) -> torch.Tensor:
    return knowledge.shard(view, CPU).logits(torch.arange(knowledge.manifest.shape.num_images))


def test_views_differ_from_one_another(small_run: SmallRun) -> None:
    knowledge = open_shared(small_run)
    assert not torch.equal(all_logits(knowledge, 0), all_logits(knowledge, 1))


def test_the_manifest_states_the_largest_rounding_error(small_run: SmallRun) -> None:
    knowledge = open_shared(small_run)
    largest = max(all_logits(knowledge, view).abs().max().item() for view in range(4))
    assert 0 < knowledge.manifest.errors.max_rounding <= largest * HALF_ULP * 1.01
    assert knowledge.manifest.errors.divergence == ()


def test_reference_outputs_equal_the_outputs_of_the_teacher_for_plain_images(small_run: SmallRun) -> None:
    reference = open_shared(small_run).reference()
    (batch,) = small_run.validation.batches(torch.arange(160), 160, device=CPU)
    torch.testing.assert_close(reference.validation, small_run.teacher(batch.images), rtol=1e-5, atol=1e-5)
    (subset,) = small_run.train.batches(reference.subset_indices, 320, device=CPU)
    torch.testing.assert_close(reference.subset, small_run.teacher(subset.images), rtol=1e-5, atol=1e-5)
    assert len(set(reference.subset_indices.tolist())) == len(reference.subset_indices)


def test_complete_outputs_are_not_written_again(small_run: SmallRun, tmp_path: Path) -> None:
    first = build(small_run, tmp_path)
    age_files(first.folder)
    heard = Heard()
    second = build(small_run, tmp_path, progress=heard)
    assert second.folder == first.folder
    assert not written_files(second.folder)
    assert [kind for kind, _ in heard.events] == ["knowledge"]


def test_online_knowledge_stores_no_views(small_run: SmallRun, tmp_path: Path) -> None:
    knowledge = build(small_run, tmp_path, online=True, storage=OutputStorage(top_k=3, embeddings=True))
    assert not list(knowledge.folder.glob("views/*"))
    assert knowledge.reference().validation.shape == (160, 10)
    with pytest.raises(IndexError):
        knowledge.shard(0, CPU)


def test_everything_that_changes_the_outputs_changes_the_folder(small_run: SmallRun, tmp_path: Path) -> None:
    folders = [build(small_run, tmp_path).folder]
    with other_bias(small_run, 0, 1.0):
        folders.append(build(small_run, tmp_path).folder)
    original = small_run.teacher.preprocess
    small_run.teacher.preprocess = Preprocess(mean=(0.4,), std=original.std, image_size=original.image_size)
    try:
        folders.append(build(small_run, tmp_path).folder)
    finally:
        small_run.teacher.preprocess = original
    folders += [
        build(small_run, tmp_path, storage=OutputStorage(top_k=3)).folder,
        build(small_run, tmp_path, storage=OutputStorage(embeddings=True)).folder,
        build(small_run, tmp_path, online=True).folder,
    ]
    assert len(set(folders)) == len(folders)
    assert build(small_run, tmp_path, storage=OutputStorage(top_k=10)).folder == folders[0]  # all of ten classes


def test_an_interrupted_build_is_not_used_and_can_be_continued(small_run: SmallRun, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(small_run, tmp_path, progress=InterruptAt(images=2 * 320 + 1))
    (folder,) = tmp_path.iterdir()
    with pytest.raises(RunError) as caught:
        Knowledge(folder)
    assert (caught.value.code, caught.value.field) == ("run.unreadable_file", str(folder / "manifest.json"))
    finished = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"views/00000.json", "views/00001.json", "reference.json"} <= finished
    assert not any(name.endswith(".tmp") or name.startswith("views/00002") for name in finished)
    age_files(folder)

    heard = Heard()
    knowledge = build(small_run, tmp_path, progress=heard)
    assert not heard.texts("warning")
    assert written_files(folder).isdisjoint(finished)
    control = build(small_run, tmp_path / "control")
    assert all(torch.equal(all_logits(knowledge, view), all_logits(control, view)) for view in range(4))
    assert knowledge.manifest.errors == control.manifest.errors


def test_a_killed_build_can_be_continued(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.knowledge.killed_build", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (folder,) = tmp_path.iterdir()
    assert not (folder / "manifest.json").exists()
    assert list(folder.glob("views/.00002.*.tmp"))
    finished = {str(path.relative_to(folder)) for path in folder.rglob("*.*") if not path.name.endswith(".tmp")}
    assert {"views/00000.json", "views/00001.json", "reference.json"} <= finished
    age_files(folder)

    heard = Heard()
    knowledge = build_computed(tmp_path, num_images=1000, progress=heard)
    assert knowledge.folder == folder
    assert not heard.texts("warning")
    assert written_files(folder).isdisjoint(finished)
    assert not list(folder.rglob("*.tmp"))
    assert [all_logits(knowledge, view).shape for view in range(4)] == [(1000, 5)] * 4


def test_the_storage_size_is_reported_before_the_build(small_run: SmallRun, tmp_path: Path) -> None:
    heard = Heard()
    build(small_run, tmp_path, progress=heard, storage=OutputStorage(top_k=3, embeddings=True))
    # 3 float16 logits, 3 uint16 classes, a float32 tail and 24 float16 features.
    assert "4 views x 320 images x 64 bytes = 80.0 KiB" in heard.texts("knowledge")[0]


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_disk_space_is_checked_for_the_missing_shards(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, 320 * 20 * 2))
    with pytest.raises(RunError) as caught:
        build(small_run, tmp_path)
    assert caught.value.code == "knowledge.no_disk_space"
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt):
        build(small_run, tmp_path, progress=InterruptAt(images=2 * 320 + 1))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, 320 * 20 * 2))
    build(small_run, tmp_path)


@pytest.mark.parametrize("size", [64, 2000, 20_000])
def test_a_disk_that_fills_up_leaves_no_partial_files(tmp_path: Path, size: int) -> None:
    with file_size_limit(size), pytest.raises(RunError) as caught:
        build_computed(tmp_path, num_images=4000)
    assert (caught.value.code, Path(caught.value.field or "").parent) == ("knowledge.not_stored", tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("manifest.json"))
    assert all_logits(build_computed(tmp_path, num_images=4000), 3).shape == (4000, 5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_a_teacher_with_invalid_outputs_is_rejected(small_run: SmallRun, tmp_path: Path, bad: float) -> None:
    with other_bias(small_run, 3, bad), pytest.raises(TeacherError) as caught:
        build(small_run, tmp_path)
    assert (caught.value.code, caught.value.field) == ("knowledge.output_out_of_range", "teacher.model")
    assert not list(tmp_path.rglob("*.npy"))


def test_a_teacher_that_is_not_deterministic_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TeacherError) as caught:
        build_computed(tmp_path, network=Noisy(5, noise=0.1))
    assert (caught.value.code, caught.value.field) == ("knowledge.not_deterministic", "teacher.model")
    assert not list(tmp_path.rglob("*.npy"))


def test_noise_below_the_rounding_of_float16_is_accepted(tmp_path: Path) -> None:
    assert build_computed(tmp_path, network=Noisy(5, noise=1e-6)).manifest.key.num_shards == 4


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    network = LowMemory(5, max_images=10_000)
    control = build_computed(tmp_path / "control", network=network)
    network.max_images = 19
    low_memory = build_computed(tmp_path / "low_memory", network=network)
    torch.testing.assert_close(all_logits(low_memory, 2), all_logits(control, 2), rtol=2 * HALF_ULP, atol=1e-5)


def test_a_device_without_memory_for_one_image_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TeacherError) as caught:
        build_computed(tmp_path, network=LowMemory(5, max_images=0))
    assert (caught.value.code, caught.value.field) == ("knowledge.out_of_memory", "teacher.model")


class InProcessPool:
    """A pool that writes shards in this process and reports `count` workers."""

    def __init__(self, small: SmallRun, count: int) -> None:
        self._small = small
        self._count = count
        self.written: list[int] = []

    def workers(self, views: int) -> int:
        return min(views, self._count)

    def write(self, job: ShardJob, views: Sequence[int], *, on_written: Callable[[], None]) -> None:
        inference = TeacherInference(self._small.teacher, CPU, embeddings=job.key.embeddings)
        for view in reversed(views):
            write_shard(job, view, inference, self._small.train)
            self.written.append(view)
            on_written()


@pytest.mark.parametrize(("worth_s", "count"), [(0.0, 2), (0.0, 1), (1e3, 2)])
def test_views_are_shared_among_workers_when_it_is_worth_it(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth_s: float, count: int
) -> None:
    shared = (worth_s, count) == (0.0, 2)
    monkeypatch.setattr(building, "_WORTH_WORKERS_S", worth_s)
    pool = InProcessPool(small_run, count)
    knowledge = build(small_run, tmp_path, pool=pool)
    assert sorted(pool.written) == ([0, 1, 2, 3] if shared else [])
    assert knowledge.manifest.errors == open_shared(small_run).manifest.errors


def test_of_a_thousand_classes_only_the_largest_logits_are_stored(tmp_path: Path) -> None:
    knowledge = build_computed(tmp_path, num_classes=1000)
    assert knowledge.manifest.key.top_k == 32
    assert {path.name for path in (knowledge.folder / "views").glob("00003*")} == {
        "00003.json", "00003.tail.npy", "00003.top_classes.npy", "00003.top_logits.npy",
    }  # fmt: skip
    assert [error.temperature for error in knowledge.manifest.errors.divergence] == [1.0, 4.0]


def test_the_manifest_states_the_divergence_from_storing_the_largest_logits(tmp_path: Path) -> None:
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
