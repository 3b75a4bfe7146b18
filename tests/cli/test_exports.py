"""`nas_distill export`, `predict` and `evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas_distill.cli import main
from nas_distill.errors import ConfigError, DataError, ExportError, NasDistillError, RunError
from nas_distill.inference.exported import read_manifest
from nas_distill.run_directory.layout import RunDirectory
from tests.cli.shell import error_of
from tests.data.files import random_pixels, write_class_folders, write_image
from tests.export.conftest import Exported, everything, finished, plain  # noqa: F401 - fixtures
from tests.export.runs import OWN, PLAIN


def answer(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert main([str(one) for one in arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """An RGB image, a 16-bit image, and one that is rotated by its EXIF data."""
    paths = [tmp_path / name for name in ("rgb.png", "deep.png", "rotated.jpg")]
    write_image(paths[0], random_pixels(0, 30, 20))
    write_image(paths[1], random_pixels(1, 9, 9, 1).astype(np.uint16) * np.uint16(257))
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(random_pixels(2, 16, 24)).save(paths[2], exif=exif)
    return paths


def test_an_export_is_printed_with_every_file(
    finished: RunDirectory,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", str(finished.path), str(PLAIN), "--format", "timm", "--license", "mit"]) == 0
    folder = finished.path / "exports" / f"trial-{PLAIN:05d}"
    try:
        output = capsys.readouterr().out
        assert f"export: {folder}" in output
        assert "model.safetensors" in output
        assert read_manifest(folder).licence == "mit"
        again = error_of("export", finished.path, str(PLAIN), "--format", "timm")
        assert (again.code, again.field, again.exit_status) == ("export.target_exists", "--to", 12)
    finally:
        shutil.rmtree(finished.path / "exports")


def test_a_run_and_its_export_predict_the_same(
    finished: RunDirectory,  # noqa: F811
    everything: Exported,  # noqa: F811
    images: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    of_run = answer(capsys, "predict", finished.path, "--pick", str(OWN), *images, "--json", "--top", "2")
    assert [one["image"] for one in of_run["images"]] == [str(path) for path in images]
    for form in ("timm", "onnx", "torch-export"):
        of_export = answer(capsys, "predict", everything.folder, "--format", form, *images, "--json", "--top", "2")
        for mine, theirs in zip(of_run["images"], of_export["images"], strict=True):
            pairs = zip(mine["predictions"], theirs["predictions"], strict=True)
            for one, other in pairs:
                assert one["class_name"] == other["class_name"]
                assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    rotated = images[2]
    upright = rotated.with_name("upright.png")
    with Image.open(rotated) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(upright)
    first, second = answer(capsys, "predict", everything.folder, rotated, upright, "--json")["images"]
    assert first["predictions"] == second["predictions"]


def test_a_corrupt_image_is_named_and_the_others_are_classified(
    everything: Exported,  # noqa: F811
    images: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    corrupt, missing = images[0].with_name("corrupt.jpg"), images[0].with_name("missing.jpg")
    corrupt.write_bytes(images[2].read_bytes()[:200])
    arguments = ["predict", str(everything.folder), str(corrupt), str(images[0]), str(missing)]
    assert main(arguments) == DataError.exit_status
    captured = capsys.readouterr()
    assert images[0].name in captured.out
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert [line.partition(": the image")[0] for line in errors] == [f"error: {corrupt}", f"error: {missing}"]
    assert all("[data.unreadable_image]" in line for line in errors)
    assert main([*arguments, "--json"]) == DataError.exit_status
    found = json.loads(capsys.readouterr().out)["images"]
    assert [one.get("error", {}).get("code") for one in found] == [
        "data.unreadable_image", None, "data.unreadable_image",
    ]  # fmt: skip


def test_an_evaluation_agrees_with_the_export(
    everything: Exported,  # noqa: F811
    finished: RunDirectory,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = f"local-dir:{finished.teacher}"
    found = answer(capsys, "evaluate", everything.folder, "--teacher", teacher, "--json")
    assert (found["data"], found["split"]) == ("digits", "validation")
    assert found["teacher"]["top1"] == pytest.approx(finished.read_teacher().top1)
    record = finished.trial(OWN).read_record()
    assert record is not None
    assert record.metrics is not None
    for one, report in zip(found["formats"], everything.manifest.formats, strict=True):
        assert one["name"] == report.name
        assert one["scores"]["images"] == 160
        assert one["scores"]["top1"] == pytest.approx(report.scores.top1)
        assert one["scores"]["nll_nats"] == pytest.approx(report.scores.nll_nats, rel=1e-4)
        assert one["top1_half_width_points"] > 0
    assert found["formats"][0]["gap_points"] == pytest.approx(record.metrics.gap_points)
    assert found["formats"][0]["agreement"] == pytest.approx(record.metrics.agreement)
    assert len(found["notes"]) == 1
    tested = answer(capsys, "evaluate", everything.folder, "--split", "test", "--format", "onnx", "--json")
    assert [one["name"] for one in tested["formats"]] == ["onnx"]
    assert (tested["formats"][0]["scores"]["images"], tested["notes"], tested["teacher"]) == (360, [], None)
    assert main(["evaluate", str(everything.folder), "--teacher", teacher]) == 0
    assert "Agreement" in capsys.readouterr().out


def test_other_images_are_scored_by_the_names_of_their_classes(
    everything: Exported,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_class_folders(tmp_path / "new", {"7": 5, "3": 4}, size=20)
    data = f"folder:{tmp_path / 'new'}"
    found = answer(capsys, "evaluate", everything.folder, "--data", data, "--format", "timm", "--json")
    paths = sorted((tmp_path / "new").rglob("*.png"))
    predicted = answer(capsys, "predict", everything.folder, *paths, "--json", "--top", "1")["images"]
    hits = [one["predictions"][0]["class_name"] == Path(one["image"]).parent.name for one in predicted]
    assert (found["split"], found["formats"][0]["scores"]["images"]) == ("all", 9)
    assert found["formats"][0]["scores"]["top1"] == pytest.approx(sum(hits) / 9)
    (tmp_path / "new" / "7").rename(tmp_path / "new" / "seven")
    unknown = error_of("evaluate", everything.folder, "--data", data)
    assert (unknown.code, unknown.field) == ("export.unknown_class", "--data")


def test_bad_input_is_a_user_error(
    everything: Exported,  # noqa: F811
    plain: Exported,  # noqa: F811
    finished: RunDirectory,  # noqa: F811
    images: list[Path],
    tmp_path: Path,
) -> None:
    folder, run, image = everything.folder, finished.path, images[0]
    cases: list[tuple[tuple[str | Path, ...], type[NasDistillError], str, str | None]] = [
        (("predict", tmp_path, image), ExportError, "export.not_an_export", str(tmp_path)),
        (("predict", tmp_path / "no", image), ExportError, "export.not_an_export", str(tmp_path / "no")),
        (("evaluate", run), ExportError, "export.not_an_export", str(run)),
        (("predict", folder, image, "--pick", "knee"), ConfigError, "cli.conflicting_options", "--pick"),
        (("predict", run, image, "--format", "onnx"), ConfigError, "cli.conflicting_options", "--format"),
        (("predict", plain.folder, image, "--format", "onnx"), ConfigError, "export.format_missing", "--format"),
        (("evaluate", plain.folder, "--format", "tflite"), ConfigError, "export.format_missing", "--format"),
        (("predict", run, image, "--pick", "99"), RunError, "models.trial_not_complete", f"trial 99 of {run}"),
        (("export", run, "1", "--to", " "), ConfigError, "cli.empty_path", "--to"),
        (("export", tmp_path, "1"), RunError, "run.missing", str(tmp_path)),
    ]
    for arguments, kind, code, field in cases:
        found = error_of(*arguments)
        assert (type(found), found.code, found.field) == (kind, code, field)


def test_a_changed_file_of_an_export_is_refused(plain: Exported, images: list[Path], tmp_path: Path) -> None:  # noqa: F811
    for name in ("config.json", "model.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        shutil.copytree(plain.folder, folder)
        with (folder / name).open("ab") as stream:
            stream.write(b" ")
        found = error_of("predict", folder, images[0])
        assert (type(found), found.code, found.field) == (ExportError, "export.damaged_file", str(folder / name))
    folder = tmp_path / "manifest"
    shutil.copytree(plain.folder, folder)
    (folder / "export.json").write_text("{}")
    assert error_of("predict", folder, images[0]).code == "run.damaged_record"
    (folder / "export.json").write_text('{"schema_version": 9}')
    assert error_of("predict", folder, images[0]).code == "run.other_version"
