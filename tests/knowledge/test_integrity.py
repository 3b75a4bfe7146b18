"""Damaged, truncated, missing and foreign files: told and made again when building, refused when reading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_distill.errors import RunError
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.model_outputs import OutputRequest
from tests.helpers import CPU, Heard, SmallRun
from tests.knowledge.helpers import build, other_bias, times

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


def scribble(path: Path) -> None:
    path.write_text("{")


def change(**fields: object) -> Damage:
    """Returns a damage that gives a JSON file other fields."""

    def damage(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    damage.__name__ = f"change_{'_'.join(fields)}"
    return damage


def take_another_view(path: Path) -> None:
    for kind in (".json", ".logits.npy"):
        shutil.copy(path.parent / f"00001{kind}", path.parent / f"00002{kind}")


SHARD_DAMAGE = [
    (SHARD, truncate, "is 6,521 bytes long, and 6,528 were written"),
    (SHARD, flip_a_bit, "is damaged: its checksum"),
    (SHARD, remove, "cannot be read: No such file"),
    (SHARD, empty, "is 0 bytes long"),
    (SHARD, pickle_it, "bytes long, and 6,528 were written"),
    (RECEIPT, remove, "cannot be read: No such file"),
    (RECEIPT, scribble, "Invalid JSON"),
    (RECEIPT, change(key_id="0123456789ab"), "of another teacher, data or views: 0123456789ab"),
    (RECEIPT, change(view=1), "is the receipt of view 1"),
    (RECEIPT, change(files=[]), "is no receipt of 00002.logits.npy"),
    (RECEIPT, take_another_view, "is no receipt of 00002.logits.npy"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "reason"), SHARD_DAMAGE)
def test_a_bad_slab_is_told_and_made_again_alone(
    small_run: SmallRun, tmp_path: Path, name: str, damage: Damage, reason: str
) -> None:
    knowledge = build(small_run, tmp_path)
    folder, good = knowledge.folder, knowledge.shard(2, CPU).logits(torch.arange(320)).clone()
    before = times(folder)
    damage(folder / name)
    heard = Heard()
    again = build(small_run, tmp_path, progress=heard)
    (warning,) = heard.texts("warning")
    assert warning.startswith(f"{folder / name}: ")
    assert reason in warning
    assert warning.endswith("; it is made again")
    assert "3 views stored already; asking the teacher about 1 view x" in heard.texts("knowledge")[0]
    changed = {path for path, written in times(folder).items() if before[path] != written}
    assert changed == {SHARD, RECEIPT, "manifest.json"}
    assert torch.equal(again.shard(2, CPU).logits(torch.arange(320)), good)
    assert "stored already" in _told_of_another_build(small_run, tmp_path)[0]


@pytest.mark.parametrize(("name", "damage", "reason"), SHARD_DAMAGE)
def test_a_worker_refuses_a_bad_slab_and_names_the_way_out(
    small_run: SmallRun, tmp_path: Path, name: str, damage: Damage, reason: str
) -> None:
    folder = _copy(small_run, tmp_path)
    damage(folder / name)
    targets, indices = StoredTargets(Knowledge(folder), CPU), torch.arange(5)
    targets.outputs(1, indices, indices, OutputRequest())
    with pytest.raises(RunError) as caught:
        targets.outputs(2, indices, indices, OutputRequest())
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; resume the search, which asks the teacher again")


def test_a_slab_is_checked_once_and_then_trusted(small_run: SmallRun, tmp_path: Path) -> None:
    folder = _copy(small_run, tmp_path)
    targets, indices = StoredTargets(Knowledge(folder), CPU), torch.arange(5)
    first = targets.outputs(2, indices, indices, OutputRequest()).logits
    targets.outputs(1, indices, indices, OutputRequest())
    (folder / RECEIPT).unlink()
    assert torch.equal(targets.outputs(2, indices, indices, OutputRequest()).logits, first)


@pytest.mark.parametrize("name", ["validation_logits.npy", "subset_logits.npy", "subset_indices.npy", "reference.json"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_bad_answers_to_plain_images_are_told_and_made_again(
    small_run: SmallRun, tmp_path: Path, name: str, damage: Damage
) -> None:
    folder = build(small_run, tmp_path).folder
    before = times(folder)
    damage(folder / name)
    with pytest.raises(RunError, match=rf"/{name}: .*; resume the search, which asks the teacher again"):
        Knowledge(folder).reference()
    heard = Heard()
    build(small_run, tmp_path, progress=heard).reference()
    (warning,) = heard.texts("warning")
    assert warning.startswith(f"{folder / name}: ")
    assert {path for path, written in times(folder).items() if before[path] != written} == {
        "validation_logits.npy", "subset_logits.npy", "subset_indices.npy", "reference.json", "manifest.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (scribble, "Invalid JSON"),
        (empty, "Invalid JSON"),
        (change(key="old"), "manifest.json: key: "),
        (change(train_logits="more"), "train_logits: Extra inputs"),
    ],
)
def test_a_bad_manifest_is_told_and_written_again(
    small_run: SmallRun, tmp_path: Path, damage: Damage, reason: str
) -> None:
    folder = build(small_run, tmp_path).folder
    before = times(folder)
    damage(folder / "manifest.json")
    with pytest.raises(RunError, match="resume the search, which asks the teacher again"):
        Knowledge(folder)
    _assert_new_manifest_alone(small_run, tmp_path, before, reason)


def test_a_manifest_of_an_earlier_layout_is_told_and_written_again(small_run: SmallRun, tmp_path: Path) -> None:
    folder = build(small_run, tmp_path).folder
    before = times(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["key"]["schema_version"] = 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _assert_new_manifest_alone(small_run, tmp_path, before, "key.schema_version: Input should be 2 (found 1)")


def test_a_manifest_of_another_teacher_is_told_and_written_again(small_run: SmallRun, tmp_path: Path) -> None:
    folder = build(small_run, tmp_path).folder
    before = times(folder)
    with other_bias(small_run, 0, 1.0):
        foreign = build(small_run, tmp_path / "foreign").folder
    shutil.copy(foreign / "manifest.json", folder / "manifest.json")
    _assert_new_manifest_alone(small_run, tmp_path, before, f"belongs to other answers (of another teacher, data or "
                               f"views: {foreign.name}, not {folder.name})")  # fmt: skip


def test_a_whole_folder_of_another_teacher_is_told_and_made_again(small_run: SmallRun, tmp_path: Path) -> None:
    knowledge = build(small_run, tmp_path)
    folder, good = knowledge.folder, knowledge.shard(0, CPU).logits(torch.arange(320)).clone()
    with other_bias(small_run, 0, 1.0):
        foreign = build(small_run, tmp_path / "foreign").folder
    shutil.rmtree(folder)
    shutil.copytree(foreign, folder)
    heard = Heard()
    again = build(small_run, tmp_path, progress=heard)
    assert len(heard.texts("warning")) == 7  # manifest, reference, features and four slabs
    assert all("belongs to other answers" in warning for warning in heard.texts("warning"))
    assert torch.equal(again.shard(0, CPU).logits(torch.arange(320)), good)


def _copy(small: SmallRun, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(small.run.knowledge / small.knowledge_id, folder)
    return folder


def _told_of_another_build(small: SmallRun, root: Path) -> list[str]:
    heard = Heard()
    build(small, root, progress=heard)
    return [message for _, message in heard.events]


def _assert_new_manifest_alone(small: SmallRun, root: Path, before: dict[str, int], reason: str) -> None:
    heard = Heard()
    folder = build(small, root, progress=heard).folder
    (warning,) = heard.texts("warning")
    assert warning.startswith(f"{folder / 'manifest.json'}: ")
    assert reason in warning
    assert {path for path, written in times(folder).items() if before[path] != written} == {"manifest.json"}
