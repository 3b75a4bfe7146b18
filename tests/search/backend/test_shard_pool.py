"""Real Ray workers that share the teacher's answers, and what happens when they die."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import safetensors.torch
import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig, SearchConfig, ViewsConfig
from nas_distill.config.loading import dump_config
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import open_split
from nas_distill.data.views.plan import plan_views
from nas_distill.errors import ClusterError, RunError, TeacherError
from nas_distill.knowledge import build as building
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardJob
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.student import build_student
from nas_distill.models.teacher import load_teacher, save_local_dir
from nas_distill.records import StudentSpec
from nas_distill.run_directory.files import write_record, write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend import shard_pool
from nas_distill.search.backend.shard_pool import RayShardPool
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import teacher_reference
from tests.helpers import CPU, Heard, SmallRun
from tests.report.factory import make_record
from tests.search.processes import descendants
from tests.search.retrain.mortal import Mortal, Rejecting

DATA = DataConfig(image_size=32, max_train_images=400, max_validation_images=40)
STORAGE = OutputStorage(top_k=3, embeddings=True)
VIEWS = 6


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A run whose teacher takes about a second per view."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    manifest = prepare_data(DATA, run.path, NullProgress())
    arguments = {"widths": (24, 48), "depths": (2, 2)}
    torch.manual_seed(0)
    spec = StudentSpec(architecture="small_resnet", arguments=arguments)
    save_local_dir(
        build_student(spec, num_classes=10, channels=1, image_size=32), run.teacher, arguments=arguments,
        class_names=manifest.class_names, channels=1, image_size=32, mean=manifest.mean, std=manifest.std,
    )  # fmt: skip
    train, validation = open_split(DATA, run.path, "train"), open_split(DATA, run.path, "validation")
    teacher = load_teacher(f"local-dir:{run.teacher}", class_names=manifest.class_names, channels=1)
    plan = plan_views(ViewsConfig(count=VIEWS), manifest, epochs=VIEWS, online=False)
    return SmallRun(
        run=run, data=DATA, train=train, validation=validation, teacher=teacher, plan=plan, knowledge_id=""
    )  # fmt: skip


def build(prepared: SmallRun, root: Path, pool: RayShardPool | None, progress: NullProgress) -> Knowledge:
    return building.build_knowledge(
        prepared.teacher, train=prepared.train, validation=prepared.validation, plan=prepared.plan, online=False,
        root=root, device=CPU, progress=progress, storage=STORAGE, pool=pool,
    )  # fmt: skip


class KillOne(Heard):
    """Kills the first worker that is writing when a view is done."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[int] = []

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        if not self.killed:
            self.killed = writers()[:1]
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


def writers() -> list[int]:
    """Returns the workers that are writing a slab."""
    titles = {pid: Path(f"/proc/{pid}/cmdline") for pid in descendants(os.getpid())}
    return [
        pid for pid, path in titles.items() if path.exists() and path.read_bytes().startswith(b"ray::ShardWorker.w")
    ]


def test_workers_write_what_one_process_would_even_if_one_dies(
    prepared: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = build(prepared, tmp_path / "control", None, NullProgress())
    monkeypatch.setattr(building, "_WORTH_WORKERS_S", 0.0)
    heard = KillOne()
    pool = RayShardPool(prepared.run.path, DATA, cpus=1.0, gpus=0.0)
    shared = build(prepared, tmp_path / "shared", pool, heard)
    assert "2 workers share the views" in heard.texts("knowledge")
    assert heard.killed
    everything = torch.arange(prepared.train.num_images)
    for view in range(VIEWS):
        mine, theirs = shared.shard(view, CPU), control.shard(view, CPU)
        # Threads split sums differently.
        torch.testing.assert_close(mine.logits(everything), theirs.logits(everything), rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(mine.embeddings(everything), theirs.embeddings(everything), rtol=2e-3, atol=2e-3)
    assert shared.manifest.shape == control.manifest.shape
    again = Heard()
    build(prepared, tmp_path / "shared", None, again)
    assert "already stored" in again.texts("knowledge")[0]
    assert not list(shared.folder.rglob("*.tmp"))
    assert not writers()


def test_workers_ask_the_student_of_a_trial(
    prepared: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "own.py"
    space.write_text(
        textwrap.dedent("""
        from timm.models import register_model
        from nas_distill.models.small_resnet import small_resnet

        @register_model
        def net_of_ones_own(pretrained=False, **kwargs):
            return small_resnet(pretrained, widths=(24, 48), depths=(2, 2), **kwargs)

        def space(trial):
            ...
        """)
    )
    load_space(str(space))
    run = RunDirectory(prepared.run.path)
    write_text(run.config, dump_config(SearchConfig()))
    spec = StudentSpec(architecture="net_of_ones_own")
    student = build_student(spec, num_classes=10, channels=1, image_size=32)
    write_record(run.trial(3).result, make_record(3, gap_points=1.0, num_params=1000, spec=spec))
    safetensors.torch.save_file(student.state_dict(), run.trial(3).weights)
    names = prepared.train.manifest.class_names
    assistant = load_teacher(teacher_reference(run, 3), class_names=names, channels=1)
    asked = replace(prepared, teacher=assistant, plan=prepared.plan.model_copy(update={"count": 2}))
    monkeypatch.setattr(building, "_WORTH_WORKERS_S", 0.0)
    pool = RayShardPool(run.path, DATA, cpus=1.0, gpus=0.0, assistant=3, user_modules=(str(space),))
    heard = Heard()
    shared = build(asked, tmp_path / "shared", pool, heard)
    assert "2 workers share the views" in heard.texts("knowledge")
    control = build(asked, tmp_path / "control", None, NullProgress())
    everything = torch.arange(prepared.train.num_images)
    for view in range(2):
        mine, theirs = (one.shard(view, CPU).logits(everything) for one in (shared, control))
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-3)
    job = ShardJob(folder=str(shared.folder), key=shared.manifest.key, shape=shared.manifest.shape)
    error = shard_pool.ShardWorker(str(run.path), DATA, job, threads=1, cuda=False).open()
    assert "a worker found another teacher there than the driver did" in str(error)


def make_job(prepared: SmallRun, folder: Path) -> ShardJob:
    known = build(prepared, folder, None, NullProgress())
    return ShardJob(folder=str(known.folder), key=known.manifest.key, shape=known.manifest.shape)


def test_a_worker_returns_what_it_is_refused(prepared: SmallRun, tmp_path: Path) -> None:
    job = make_job(prepared, tmp_path / "k")
    other = RunDirectory(tmp_path / "run")
    shutil.copytree(prepared.run.path, other.path)
    (other.teacher / "config.json").unlink()
    worker = shard_pool.ShardWorker(str(other.path), DATA, job, threads=1, cuda=False)
    for error in (worker.open(), worker.write(0)):
        assert isinstance(error, TeacherError)
        assert re.fullmatch(r"teacher\.model: .* has no config\.json.*", str(error))


@pytest.mark.parametrize("rejected", ["open", "write"])
def test_what_a_worker_returns_is_raised_as_it_is(rejected: str) -> None:
    rejecting = ray.remote(Rejecting).options(num_cpus=0).remote(rejected)
    with pytest.raises(TeacherError, match=r"^teacher\.model: gone$"):
        list(shard_pool._share([rejecting], [0, 1]))


def test_a_worker_that_finds_another_teacher_says_so(prepared: SmallRun, tmp_path: Path) -> None:
    job = make_job(prepared, tmp_path / "k")
    foreign = job.model_copy(update={"key": job.key.model_copy(update={"teacher_sha256": "0" * 64})})
    worker = shard_pool.ShardWorker(str(prepared.run.path), DATA, foreign, threads=1, cuda=False)
    error = worker.open()
    assert isinstance(error, RunError)
    assert "a worker found another teacher there than the driver did" in str(error)
    assert isinstance(worker.write(0), RunError)


@pytest.mark.parametrize(
    ("cpus", "gpus", "views", "workers"),
    [(1.0, 0.0, 6, 2), (1.0, 0.0, 1, 1), (2.0, 0.0, 6, 1), (0.1, 0.0, 50, 20), (4.0, 0.0, 6, 0), (1.0, 0.25, 6, 0)],
)
def test_as_many_workers_as_the_cluster_holds(cpus: float, gpus: float, views: int, workers: int) -> None:
    assert RayShardPool(Path("run"), DATA, cpus=cpus, gpus=gpus).workers(views) == workers


def mortal(deadly: list[int], **arguments: bool) -> Any:
    return ray.remote(Mortal).options(num_cpus=0).remote(deadly, **arguments)


def test_the_views_of_the_dead_go_to_the_living() -> None:
    workers = [mortal([0, 1, 2]), mortal([]), mortal([], stillborn=True)]
    assert sorted(shard_pool._share(workers, [0, 1, 2])) == [0, 1, 2]


def test_when_all_are_dead_it_is_told() -> None:
    finished: list[int] = []
    with pytest.raises(ClusterError, match="every worker that asks the teacher died 4 times"):
        finished.extend(shard_pool._share([mortal([1]), mortal([1])], [0, 1, 2]))
