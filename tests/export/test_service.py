"""Export a student: files, parity, model card, and what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import onnx
import pytest
from huggingface_hub import ModelCard

from nas_distill.analysis.run import Run
from nas_distill.errors import ConfigError, ExportError, InstallationError, NasDistillError, RunError
from nas_distill.export.card import lost_points, notes
from nas_distill.inference.exported import open_export, read_manifest
from nas_distill.models.run_student import student_interface
from nas_distill.records.export import FILES
from nas_distill.records.student_interface import StudentInterface
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from tests.export.conftest import Exported
from tests.export.runs import BRANCHED, FAILED, OWN, PLAIN, digits, export
from tests.helpers import file_size_limit


def test_every_format_is_written_and_computes_what_pytorch_computes(
    everything: Exported, finished: RunDirectory
) -> None:
    manifest = everything.manifest
    record = finished.trial(OWN).read_record()
    assert record is not None
    assert record.metrics is not None
    assert [one.name for one in manifest.formats] == list(FILES)
    assert manifest == read_manifest(everything.folder)
    assert manifest.pytorch.top1 == pytest.approx(record.metrics.top1)
    # The record's likelihood is cross-fitted: its temperatures were fitted on other images than they are scored on.
    assert manifest.pytorch.nll_nats == pytest.approx(record.metrics.nll_nats, rel=0.02)
    student = Run(finished.path).load_student(OWN)
    for one in manifest.formats:
        assert one.scores.images == one.images_one_by_one == 160
        assert one.latency.median_ms > 0
        exported = open_export(everything.folder, one.name, manifest=manifest)
        difference = float((exported.logits(digits(7)) - student.logits(digits(7))).abs().max())
        if one.name == "onnx-int8":
            continue
        assert difference <= manifest.tolerance
        assert one.largest_difference <= manifest.tolerance
        assert one.top1_one_by_one == one.scores.top1 == pytest.approx(manifest.pytorch.top1, abs=1e-9)
    assert manifest.required_import == "import nas_distill.models"


def test_the_checksums_cover_all_files_and_none_is_a_pickle(everything: Exported) -> None:
    sums = dict(line.split("  ")[::-1] for line in (everything.folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {
        "README.md", "export.json", "config.json", "model.safetensors", "model.onnx", "model.int8.onnx", "model.pt2",
    }  # fmt: skip
    assert {path.name for path in everything.folder.iterdir()} == {*sums, "SHA256SUMS"}
    for name, digest in sums.items():
        content = (everything.folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert not content.startswith(b"\x80")
    with zipfile.ZipFile(everything.folder / "model.pt2") as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    assert not any(zipfile.is_zipfile(io.BytesIO(part)) for part in parts)


def test_the_onnx_file_has_a_free_batch_and_says_how_to_call_it(everything: Exported) -> None:
    for name in ("model.onnx", "model.int8.onnx"):
        model = onnx.load(everything.folder / name)
        onnx.checker.check_model(model)
        (image,) = model.graph.input
        assert [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
        assert next(one.version for one in model.opset_import if not one.domain) == 18
        facts = {one.key: one.value for one in model.metadata_props}
        assert (facts["image_size"], facts["channels"], facts["interpolation"]) == ("8", "1", "bicubic")
        assert '"9"' in facts["class_names"]
        assert str(Path(__file__).parents[2]) not in str(model)
    assert (everything.folder / "model.onnx").read_bytes() != (everything.folder / "model.int8.onnx").read_bytes()


def test_the_model_card_follows_the_hub(everything: Exported) -> None:
    card = ModelCard.load(everything.folder / "README.md")
    assert (card.data.library_name, card.data.license, card.data.datasets) == ("timm", "unknown", ["digits"])
    assert card.data.eval_results is not None
    assert card.data.eval_results[0].metric_value == pytest.approx(everything.manifest.pytorch.top1, abs=1e-4)
    text = (everything.folder / "README.md").read_text(encoding="utf-8")
    for value in ("small_resnet", everything.manifest.source.data_id, "import nas_distill.models", "model.int8.onnx"):
        assert value in text


def test_branches_for_training_only_are_merged_in_onnx_and_kept_for_timm(
    finished: RunDirectory, tmp_path: Path
) -> None:
    manifest = export(finished, BRANCHED, tmp_path / "export", "timm", "onnx")
    assert [one.fused for one in manifest.formats] == [False, True]
    convolutions = [one for one in onnx.load(tmp_path / "export" / "model.onnx").graph.node if one.op_type == "Conv"]
    assert len(convolutions) == 5
    student = Run(finished.path).load_student(BRANCHED)
    for one in manifest.formats:
        exported = open_export(tmp_path / "export", one.name, manifest=manifest)
        assert float((exported.logits(digits()) - student.logits(digits())).abs().max()) <= manifest.tolerance
    assert any("reparameterize_model" in note for note in notes(manifest))


def test_a_large_loss_through_quantisation_is_a_warning(everything: Exported) -> None:
    manifest = everything.manifest
    int8 = manifest.report("onnx-int8")
    assert int8 is not None
    for lost, warned in ((0.02, True), (0.005, False)):
        scores = int8.scores.model_copy(update={"top1": manifest.pytorch.top1 - lost})
        worse = int8.model_copy(update={"scores": scores})
        changed = manifest.model_copy(update={"formats": (*manifest.formats[:2], worse)})
        assert lost_points(changed, worse) == pytest.approx(100 * lost)
        assert any(note.startswith("**") for note in notes(changed)) == warned


def test_an_int8_file_without_gain_is_named(everything: Exported) -> None:
    manifest = everything.manifest
    onnx_file, int8 = manifest.report("onnx"), manifest.report("onnx-int8")
    assert onnx_file is not None
    assert int8 is not None
    for factor, expected in ((0.5, 0), (1.0, 2)):
        latency = int8.latency.model_copy(update={"median_ms": factor * onnx_file.latency.median_ms})
        size = round(factor * onnx_file.size_bytes)
        changed = int8.model_copy(update={"latency": latency, "size_bytes": size})
        formats = tuple(changed if one.name == "onnx-int8" else one for one in manifest.formats)
        found = list(notes(manifest.model_copy(update={"formats": formats})))
        assert sum("model.int8.onnx is not" in note for note in found) == expected


def test_a_trial_says_how_to_call_its_student(finished: RunDirectory) -> None:
    for number in (OWN, PLAIN, BRANCHED):
        found = read_record(finished.trial(number).interface, StudentInterface)
        assert found == student_interface(f"run:{finished.path}/{number}")
        assert (found.image_size, found.channels, len(found.class_names)) == (8, 1, 10)


def test_what_cannot_be_exported_is_a_user_error(
    finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int, to: Path, *formats: str) -> NasDistillError:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(NasDistillError) as caught:
            export(finished, number, to, *formats)
        assert "\n" not in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before
        return caught.value

    new = tmp_path / "new"
    failed, missing = refuse(FAILED, new, "timm"), refuse(77, new, "timm")
    assert type(failed) is type(missing) is RunError
    assert failed.code == missing.code == "models.trial_not_complete"
    assert failed.field == f"trial {FAILED} of {finished.path}"
    unknown = refuse(PLAIN, new, "coreml")
    assert (type(unknown), unknown.code, unknown.field) == (ConfigError, "export.unknown_format", "--format")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in (tmp_path / "folder", tmp_path / "link"):
        there = refuse(PLAIN, target, "timm")
        assert (type(there), there.code, there.field) == (ExportError, "export.target_exists", "--to")
    for target in (Path("..") / "..", Path("/")):
        assert refuse(PLAIN, target, "timm").code == "cli.empty_path"
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    package = refuse(PLAIN, new, "onnx")
    assert (type(package), package.code, package.field) == (
        InstallationError, "export.missing_package", "onnxruntime",
    )  # fmt: skip


def test_a_run_without_weights_is_a_user_error(finished: RunDirectory, tmp_path: Path) -> None:
    weights = finished.trial(PLAIN).weights
    content = weights.read_bytes()
    weights.unlink()
    try:
        with pytest.raises(RunError) as caught:
            export(finished, PLAIN, tmp_path / "new", "timm")
    finally:
        weights.write_bytes(content)
    assert caught.value.code == "models.weights_unreadable"


def test_a_failed_write_leaves_nothing(finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    left: list[int] = []

    def sync(descriptor: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    # Weights, configuration, card, manifest and sums are synced as files and as entries of their folder, and once more.
    for fatal in range(1, 16):
        left[:] = [fatal]
        with pytest.raises(RunError) as caught:
            export(finished, PLAIN, tmp_path / "new", "timm")
        assert caught.value.code == "run.disk_full"
        assert list(tmp_path.iterdir()) == []
    left[:] = [1000]
    export(finished, PLAIN, tmp_path / "new", "timm")
    # One more write is not checked: the entry of the new folder itself, when the export is complete.
    assert 1000 - left[0] == 16


def test_a_full_disk_leaves_nothing(finished: RunDirectory, tmp_path: Path) -> None:
    for form in ("timm", "torch-export", "onnx"):
        with file_size_limit(2000), pytest.raises(RunError) as caught:
            export(finished, PLAIN, tmp_path / "new", form)
        assert caught.value.code == "run.unwritable_file"
        assert list(tmp_path.iterdir()) == []
