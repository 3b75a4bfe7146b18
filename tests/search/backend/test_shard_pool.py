"""Real Ray workers that write shards of teacher outputs; one dies at a known point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig, ResourcesConfig, SearchConfig, ViewsConfig
from nas_distill.config.loading import dump_config
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import open_split
from nas_distill.data.views.plan import plan_views
from nas_distill.errors import RunError, TeacherError
from nas_distill.knowledge import build as building
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardJob
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.student import build_student
from nas_distill.models.teacher import load_teacher, save_local_dir
from nas_distill.models.weights import save_weights
from nas_distill.records import ExecutionInfo, Normalisation, StudentSpec
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.shard_pool import RayShardPool, ShardWorker
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import teacher_reference
from tests.helpers import CPU, Heard, SmallRun
from tests.report.factory import make_record
from tests.search.faults import FAULTY_SPACE, faulty_spec

pytestmark = pytest.mark.usefixtures("shared_cluster")

DATA = DataConfig(max_train_images=320, max_validation_images=40)
STORAGE = OutputStorage(top_k=3, embeddings=True)
RESOURCES = ResourcesConfig(cpus_per_trial=1.0, gpus_per_trial=0.0)
VIEWS = 4


@pytest.fixture
def prepared(tmp_path: Path) -> SmallRun:
    """A run whose teacher kills the first worker that it answers in, unless there is a file `died`."""
    load_space(FAULTY_SPACE)
    run = RunDirectory(tmp_path / "run")
    manifest = prepare_data(DATA, run.path, NullProgress())
    spec = faulty_spec("die", marker=tmp_path / "died", mode="eval", width=8)
    torch.manual_seed(0)
    save_local_dir(
        build_student(spec, num_classes=10, channels=1, image_size=8), run.teacher,
        arguments=spec.keyword_arguments(), class_names=manifest.class_names, channels=1, image_size=8,
        mean=manifest.mean, std=manifest.std,
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


def assert_equal_shards(first: Knowledge, second: Knowledge, prepared: SmallRun, views: int) -> None:
    everything = torch.arange(prepared.train.num_images)
    for view in range(views):
        one, other = first.shard(view, CPU), second.shard(view, CPU)
        # Threads split sums differently.
        torch.testing.assert_close(one.logits(everything), other.logits(everything), rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(one.embeddings(everything), other.embeddings(everything), rtol=2e-3, atol=2e-3)


def test_workers_write_the_same_shards_as_one_process_even_if_one_dies(
    prepared: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = build(prepared, tmp_path / "alone", None, NullProgress())
    monkeypatch.setattr(building, "_WORTH_WORKERS_S", 0.0)
    pool = RayShardPool(prepared.run, DATA, RESOURCES, user_modules=(FAULTY_SPACE,))
    shared = build(prepared, tmp_path / "shared", pool, Heard())
    assert (tmp_path / "died").exists()
    assert_equal_shards(shared, alone, prepared, VIEWS)
    assert shared.manifest.shape == alone.manifest.shape
    assert not list(shared.folder.rglob("*.tmp"))


def test_workers_store_the_outputs_of_a_trials_student(
    prepared: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared.run
    write_text(run.config, dump_config(SearchConfig()))
    spec = StudentSpec(architecture="faulty_net", arguments={"width": 6})
    student = build_student(spec, num_classes=10, channels=1, image_size=8)
    execution = ExecutionInfo(normalisation=Normalisation(mean=(0.5,), std=(0.25,)))
    record = make_record(3, gap_points=1.0, num_params=1000, spec=spec).model_copy(update={"execution": execution})
    run.trial(3).write_record(record)
    save_weights(student, run.trial(3).weights)
    names = prepared.train.manifest.class_names
    assistant = load_teacher(teacher_reference(run, 3), class_names=names, channels=1)
    of_student = replace(prepared, teacher=assistant, plan=prepared.plan.model_copy(update={"count": 2}))
    monkeypatch.setattr(building, "_WORTH_WORKERS_S", 0.0)
    pool = RayShardPool(run, DATA, RESOURCES, assistant=3, user_modules=(FAULTY_SPACE,))
    shared = build(of_student, tmp_path / "shared", pool, Heard())
    alone = build(of_student, tmp_path / "alone", None, NullProgress())
    assert_equal_shards(shared, alone, of_student, 2)
    job = ShardJob(folder=str(shared.folder), key=shared.manifest.key, shape=shared.manifest.shape)
    with pytest.raises(RunError) as caught:
        make_worker(prepared, job).open()  # reads the teacher, not the student
    assert (caught.value.code, caught.value.field) == ("cluster.path_not_shared", teacher_reference(run, None))


def test_a_worker_rejects_other_weights_of_the_teacher(prepared: SmallRun, tmp_path: Path) -> None:
    known = build(prepared, tmp_path / "k", None, NullProgress())
    job = ShardJob(folder=str(known.folder), key=known.manifest.key, shape=known.manifest.shape)
    weights = prepared.run.teacher / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError) as caught:
        make_worker(prepared, job).open()
    assert (caught.value.code, caught.value.field) == (
        "cluster.path_not_shared",
        teacher_reference(prepared.run, None),
    )


def make_worker(prepared: SmallRun, job: ShardJob) -> ShardWorker:
    return ShardWorker(prepared.run, DATA, job, threads=1, cuda=False, assistant=None, user_modules=(FAULTY_SPACE,))


def test_a_worker_raises_user_errors(prepared: SmallRun, tmp_path: Path) -> None:
    known = build(prepared, tmp_path / "k", None, NullProgress())
    job = ShardJob(folder=str(known.folder), key=known.manifest.key, shape=known.manifest.shape)
    (prepared.run.teacher / "config.json").unlink()
    with pytest.raises(TeacherError) as caught:
        make_worker(prepared, job).open()
    assert (caught.value.code, caught.value.field) == ("models.teacher_not_loadable", "teacher.model")


@pytest.mark.parametrize(
    ("cpus", "gpus", "views", "workers"),
    [(1.0, 0.0, 6, 2), (1.0, 0.0, 1, 1), (2.0, 0.0, 6, 1), (0.1, 0.0, 50, 20), (4.0, 0.0, 6, 0), (1.0, 0.25, 6, 0)],
)
def test_there_are_as_many_workers_as_the_cluster_holds(cpus: float, gpus: float, views: int, workers: int) -> None:
    resources = ResourcesConfig(cpus_per_trial=cpus, gpus_per_trial=gpus)
    pool = RayShardPool(RunDirectory(Path("run")), DATA, resources, user_modules=())
    assert pool.workers(views) == workers
