"""Stored and online targets."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas_distill.data.views.batches import view_batches
from nas_distill.errors import ConfigError
from nas_distill.knowledge.encoding import keep_top, spread_tail
from nas_distill.knowledge.layout import OutputStorage, ShardShape
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets
from nas_distill.model_outputs import OutputRequest
from tests.helpers import CPU, SmallRun
from tests.knowledge.helpers import HALF_ULP, build, build_computed
from tests.knowledge.synthetic import make_split, make_teacher


@pytest.mark.parametrize("view", range(4))
def test_stored_and_online_targets_agree_for_the_same_views(small_run: SmallRun, view: int) -> None:
    order = torch.randperm(small_run.train.num_images, generator=torch.Generator().manual_seed(view))
    stored = StoredTargets(Knowledge(small_run.run.knowledge / small_run.knowledge_id), CPU)
    online = OnlineTargets(small_run.teacher)
    for batch in view_batches(small_run.train, order, 50, view=view, plan=small_run.plan, device=CPU):
        expected = online.outputs(view, batch.indices, batch.images, OutputRequest()).logits
        torch.testing.assert_close(
            stored.outputs(view, batch.indices, batch.images, OutputRequest()).logits,
            expected,
            rtol=HALF_ULP,
            atol=2e-5,
        )  # atol: the teacher's own batch-size dependent rounding near zero


@pytest.mark.parametrize(("num_classes", "dtype"), [(300, "uint16"), (70_000, "int32")])
def test_the_largest_logits_are_restored_and_the_others_share_their_mass(
    tmp_path: Path, num_classes: int, dtype: str
) -> None:
    knowledge = build_computed(tmp_path, num_images=60, num_classes=num_classes)
    assert str(knowledge.manifest.shape.arrays["top_classes"].dtype) == dtype
    targets, teacher, plan = StoredTargets(knowledge, CPU), make_teacher(num_classes), knowledge.manifest.key.plan
    order = torch.randperm(60)
    for batch in view_batches(make_split(60, num_classes), order, 25, view=3, plan=plan, device=CPU):
        restored, exact = targets.outputs(3, batch.indices, batch.images, OutputRequest()).logits, teacher(batch.images)
        assert restored.shape == exact.shape
        assert restored.dtype == torch.float32
        top, classes = exact.topk(32)
        torch.testing.assert_close(restored.gather(1, classes), top, rtol=2 * HALF_ULP, atol=1e-5)
        others = restored.scatter(1, classes, math.nan)
        for row in others:
            assert len(row[~row.isnan()].unique()) == 1
        torch.testing.assert_close(restored.softmax(1).gather(1, classes), exact.softmax(1).gather(1, classes),
                                   rtol=2e-2, atol=1e-6)  # fmt: skip
        assert torch.equal(restored.argmax(1), exact.argmax(1))


def test_storing_all_logits_but_one_is_exact() -> None:
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spread_tail(keep_top(logits, 4), 5), logits)


@pytest.mark.parametrize(
    ("top_k", "num_classes", "stored"),
    [
        (None, 100, 0),
        (None, 128, 0),
        (None, 129, 32),
        (None, 1000, 32),
        (0, 1000, 0),
        (5, 10, 5),
        (10, 10, 0),
        (9, 5, 0),
    ],
)
def test_the_number_of_stored_logits(top_k: int | None, num_classes: int, stored: int) -> None:
    assert OutputStorage(top_k=top_k).stored_top_k(num_classes) == stored


def test_the_size_of_a_shard_per_image() -> None:
    shape = ShardShape(num_images=1, num_classes=1000, top_k=32, embedding_size=512)
    assert shape.row_bytes == 32 * (2 + 2) + 4 + 2 * 512


@pytest.mark.parametrize("top_k", [0, 3])
def test_stored_embeddings_give_the_stored_logits(small_run: SmallRun, tmp_path: Path, top_k: int) -> None:
    knowledge = build(small_run, tmp_path, storage=OutputStorage(top_k=top_k, embeddings=True))
    targets = StoredTargets(knowledge, CPU)
    indices = torch.tensor([300, 2, 2, 17])
    embeddings = targets.outputs(1, indices, indices, OutputRequest(embedding=True)).embedding
    assert embeddings is not None
    assert (embeddings.shape, embeddings.dtype) == ((4, 24), torch.float32)
    plain = StoredTargets(build(small_run, tmp_path), CPU)
    classifier = small_run.teacher.network.get_submodule("fc")
    torch.testing.assert_close(
        classifier(embeddings), plain.outputs(1, indices, indices, OutputRequest()).logits, rtol=5e-3, atol=5e-3
    )


def test_a_request_for_outputs_without_storage_is_rejected(small_run: SmallRun) -> None:
    targets = StoredTargets(Knowledge(small_run.run.knowledge / small_run.knowledge_id), CPU)
    with pytest.raises(ConfigError) as caught:
        targets.outputs(0, torch.arange(3), torch.empty(0), OutputRequest(embedding=True))
    assert (caught.value.code, caught.value.field) == ("knowledge.embeddings_not_stored", "teacher.embeddings")
    for request, code in (
        (OutputRequest(embedding=True), "knowledge.embeddings_not_stored"),
        (OutputRequest(depths=(0.5,)), "knowledge.feature_maps_not_stored"),
    ):
        with pytest.raises(ConfigError) as caught:
            targets.shapes(torch.empty(0), request)
        assert (caught.value.code, caught.value.field) == (code, "recipe.losses")


def test_writing_into_stored_outputs_does_not_change_the_file(small_run: SmallRun, tmp_path: Path) -> None:
    knowledge = build(small_run, tmp_path)
    before = knowledge.reference().validation.clone()
    knowledge.reference().validation.zero_()
    assert torch.equal(Knowledge(knowledge.folder).reference().validation, before)


def test_tensors_are_mapped_and_not_copied(small_run: SmallRun) -> None:
    reference = Knowledge(small_run.run.knowledge / small_run.knowledge_id).reference()
    maps = Path("/proc/self/maps").read_text()
    for name, tensor in (("validation_logits", reference.validation), ("subset_logits", reference.subset)):
        (line,) = (line for line in maps.splitlines() if _holds(line, tensor))
        assert line.endswith(f"{small_run.knowledge_id}/{name}.npy")


def _holds(line: str, tensor: Tensor) -> bool:
    start, _, end = line.split(maxsplit=1)[0].partition("-")
    return int(start, 16) <= tensor.data_ptr() < int(end, 16)


@pytest.mark.parametrize("num_images", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, num_images: int) -> None:
    command = [sys.executable, "-m", "tests.knowledge.measure_memory", str(tmp_path), str(num_images)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    measured = json.loads(ended.stdout)
    assert measured["stored_mib"] > 120 * num_images / 1_000_000
    # Float32 logits of all images would take 190 MiB (50,000 images). The imports are subtracted: they take 750 to 900
    # MiB, depending on the build of PyTorch.
    assert measured["read_mib"] - measured["imported_mib"] < 150
