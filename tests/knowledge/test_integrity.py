"""Damaged, truncated, missing and foreign files: written again by a build, rejected by a reader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import RESUME_HINT
from nas_distill.knowledge.inspection import inspect_folder
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.model_outputs import OutputRequest
from nas_distill.records.base import seal_json
from tests.helpers import CPU, Heard, SmallRun
from tests.knowledge.helpers import age_files, build, other_bias, written_files

Damage = Callable[[Path], None]

SHARD = "views/00002.logits.npy"
RECEIPT = "views/00002.json"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pickle_it(path: Path) -> None:
    np.save(path, np.array([{"any": "code"}], dtype=object), allow_pickle=True)


def break_json(path: Path) -> None:
    path.write_text("{")


def _without_checksum(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    del content["checksum"]
    return content


def change(**fields: object) -> Damage:
    """Return a function that changes fields of a JSON file."""

    def damage(path: Path) -> None:
        path.write_text(seal_json(json.dumps(_without_checksum(path) | fields)))

    damage.__name__ = f"change_{'_'.join(fields)}"
    return damage


def replace_by_another_view(path: Path) -> None:
    for kind in (".json", ".logits.npy"):
        shutil.copy(path.parent / f"00001{kind}", path.parent / f"00002{kind}")


DAMAGED, WRONG, FOREIGN = "knowledge.damaged_file", "knowledge.wrong_receipt", "knowledge.other_outputs"

# File, damage, and the code of the error; None for errors of `run_directory.files`.
SHARD_DAMAGE = [
    (SHARD, truncate, DAMAGED),
    (SHARD, flip_a_bit, DAMAGED),
    (SHARD, remove, DAMAGED),
    (SHARD, empty, DAMAGED),
    (SHARD, pickle_it, DAMAGED),
    (RECEIPT, remove, None),
    (RECEIPT, break_json, None),
    (RECEIPT, change(key_id="0123456789ab"), FOREIGN),
    (RECEIPT, change(view=1), WRONG),
    (RECEIPT, change(files=[]), WRONG),
    (RECEIPT, replace_by_another_view, WRONG),
]


@pytest.mark.parametrize(("name", "damage", "code"), SHARD_DAMAGE)
def test_a_build_writes_only_the_damaged_shard_again(
    small_run: SmallRun, tmp_path: Path, name: str, damage: Damage, code: str | None
) -> None:
    knowledge = build(small_run, tmp_path)
    folder, expected = knowledge.folder, knowledge.shard(2, CPU).logits(torch.arange(320)).clone()
    damage(folder / name)
    age_files(folder)
    (problem,) = inspect_folder(folder, knowledge.manifest.key).problems
    assert str(problem).startswith(f"{folder / name}: ")
    assert code is None or (problem.code, problem.field) == (code, str(folder / name))
    heard = Heard()
    again = build(small_run, tmp_path, progress=heard)
    assert len(heard.texts("warning")) == 1
    assert written_files(folder) == {SHARD, RECEIPT, "manifest.json"}
    assert torch.equal(again.shard(2, CPU).logits(torch.arange(320)), expected)
    assert not inspect_folder(folder, knowledge.manifest.key).problems


@pytest.mark.parametrize(("name", "damage", "code"), SHARD_DAMAGE)
def test_a_reader_rejects_a_damaged_shard(
    small_run: SmallRun, tmp_path: Path, name: str, damage: Damage, code: str | None
) -> None:
    folder = _copy(small_run, tmp_path)
    damage(folder / name)
    targets, indices = StoredTargets(Knowledge(folder), CPU), torch.arange(5)
    targets.outputs(1, indices, indices, OutputRequest())
    with pytest.raises(RunError) as caught:
        targets.outputs(2, indices, indices, OutputRequest())
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert str(caught.value).endswith(RESUME_HINT)
    assert code is None or (caught.value.code, caught.value.field) == (code, str(folder / name))


def test_a_shard_is_verified_once(small_run: SmallRun, tmp_path: Path) -> None:
    folder = _copy(small_run, tmp_path)
    targets, indices = StoredTargets(Knowledge(folder), CPU), torch.arange(5)
    first = targets.outputs(2, indices, indices, OutputRequest()).logits
    targets.outputs(1, indices, indices, OutputRequest())
    (folder / RECEIPT).unlink()
    assert torch.equal(targets.outputs(2, indices, indices, OutputRequest()).logits, first)


@pytest.mark.parametrize("name", ["validation_logits.npy", "subset_logits.npy", "subset_indices.npy", "reference.json"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_damaged_reference_outputs_are_rejected_and_written_again(
    small_run: SmallRun, tmp_path: Path, name: str, damage: Damage
) -> None:
    folder = build(small_run, tmp_path).folder
    damage(folder / name)
    age_files(folder)
    with pytest.raises(RunError) as caught:
        Knowledge(folder).reference()
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert str(caught.value).endswith(RESUME_HINT)
    heard = Heard()
    build(small_run, tmp_path, progress=heard).reference()
    (warning,) = heard.texts("warning")
    assert warning.startswith(f"{folder / name}: ")
    assert written_files(folder) == {
        "validation_logits.npy", "subset_logits.npy", "subset_indices.npy", "validation_features.npy",
        "reference.json", "manifest.json",
    }  # fmt: skip


def change_schema_version(path: Path) -> None:
    manifest = _without_checksum(path)
    manifest["key"]["schema_version"] += 1
    path.write_text(seal_json(json.dumps(manifest)))


@pytest.mark.parametrize(
    "damage", [break_json, empty, change(key="old"), change(train_logits="more"), change_schema_version]
)
def test_a_damaged_manifest_is_rejected_and_written_again(small_run: SmallRun, tmp_path: Path, damage: Damage) -> None:
    folder = build(small_run, tmp_path).folder
    damage(folder / "manifest.json")
    with pytest.raises(RunError) as caught:
        Knowledge(folder)
    assert str(caught.value).startswith(f"{folder / 'manifest.json'}: ")
    assert str(caught.value).endswith(RESUME_HINT)
    _assert_only_the_manifest_is_written_again(small_run, tmp_path, folder)


def test_a_manifest_of_another_teacher_is_written_again(small_run: SmallRun, tmp_path: Path) -> None:
    folder = build(small_run, tmp_path).folder
    with other_bias(small_run, 0, 1.0):
        foreign = build(small_run, tmp_path / "foreign").folder
    shutil.copy(foreign / "manifest.json", folder / "manifest.json")
    _assert_only_the_manifest_is_written_again(small_run, tmp_path, folder)


def test_all_files_of_another_teacher_are_written_again(small_run: SmallRun, tmp_path: Path) -> None:
    knowledge = build(small_run, tmp_path)
    folder, expected = knowledge.folder, knowledge.shard(0, CPU).logits(torch.arange(320)).clone()
    with other_bias(small_run, 0, 1.0):
        foreign = build(small_run, tmp_path / "foreign").folder
    shutil.rmtree(folder)
    shutil.copytree(foreign, folder)
    problems = inspect_folder(folder, knowledge.manifest.key).problems
    # The manifest, the reference outputs and four shards.
    assert [problem.code for problem in problems] == [FOREIGN] * 6
    again = build(small_run, tmp_path)
    assert torch.equal(again.shard(0, CPU).logits(torch.arange(320)), expected)


def _copy(small: SmallRun, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(small.run.knowledge / small.knowledge_id, folder)
    return folder


def _assert_only_the_manifest_is_written_again(small: SmallRun, root: Path, folder: Path) -> None:
    age_files(folder)
    heard = Heard()
    assert build(small, root, progress=heard).folder == folder
    (warning,) = heard.texts("warning")
    assert warning.startswith(f"{folder / 'manifest.json'}: ")
    assert written_files(folder) == {"manifest.json"}
