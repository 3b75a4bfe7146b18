"""A search that cannot begin says so before Ray is started, and leaves no run directory behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.config import LOCAL_DIR
from nas_distill.errors import (
    ClusterError,
    ConfigError,
    DataError,
    NasDistillError,
    SpaceError,
    StudyError,
    TeacherError,
)
from tests.data.files import write_class_folders
from tests.helpers import SmallRun

NOBODY = ("--address", "nobody")
"""Whoever asked this cluster would end with a `ClusterError`: Ray refuses the address at once."""


def rejected(folder: Path, *arguments: str) -> int:
    return main(["search", "--out", str(folder), *NOBODY, *arguments])


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "pictures", {"cat": 2, "dog": 2})
    write_class_folders(tmp_path / "one", {"cat": 2})
    (tmp_path / "empty").mkdir()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("--data", "folder:nowhere", "--teacher", "local-dir:t"),
            DataError,
            "data.source: folder {here}/nowhere does",
        ),
        (
            ("--data", "folder:empty", "--teacher", "local-dir:t"),
            DataError,
            "data.source: folder {here}/empty is empty",
        ),
        (("--data", "folder:one", "--teacher", "local-dir:t"), DataError, "has one class (cat)"),
        (("--data", "photos", "--teacher", "local-dir:t"), DataError, "data.source: 'photos' is none of digits"),
        (("--data", "torch/mnist", "--teacher", "local-dir:t"), DataError, "data.root: is not given"),
        (
            ("--data", "torch/mnist", "--data-root", "no", "--teacher", "x"),
            DataError,
            "fetch it with --set data.download",
        ),
        (("--data", "folder:pictures", "--teacher", "local-dir:t"), TeacherError, "{here}/t has no config.json"),
        (
            ("--data", "torch/mnist", "--data-root", ".", "--teacher", "local-dir:t"),
            TeacherError,
            "has no config.json",
        ),
        (("--teacher", "run:no/run/3"), TeacherError, "teacher.model: {here}/no/run: holds no run"),
        (("--teacher", "resnet3"), TeacherError, "teacher.model: timm has no 'resnet3'; did you mean"),
        (("--teacher", "resnet18"), TeacherError, "'resnet18' has no weights for these classes"),
        (
            ("--teacher", "resnet18", "--teacher-checkpoint", "w"),
            TeacherError,
            "teacher.checkpoint: {here}/w is not a file",
        ),
        (("--teacher", "local-dir:t", "--set", "teacher.arguments.x=1"), TeacherError, "includes its weights"),
        (("--space", "tinny"), SpaceError, "space.name: 'tinny' is not a shipped space; did you mean 'tiny'?"),
        (("--recipe", "serach"), SpaceError, "space.recipe: 'serach'"),
        (("--initial-points", "no.yaml"), ConfigError, "space.initial_points: {here}/no.yaml cannot be read"),
        (("--set", "asha.rule=layer"), ConfigError, "did you mean 'layers'"),
        (("--storage", "notaurl"), StudyError, "notaurl"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_be_known_at_once_is_told_before_ray_is_asked(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    error: type[NasDistillError],
    message: str,
) -> None:
    assert rejected(tmp_path / "run", *arguments) == error.exit_status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message.format(here=tmp_path) in line
    assert not (tmp_path / "run").exists()


def test_a_trial_that_did_not_end_teaches_nobody(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_run.run.path / "config.yaml").touch()
    assert rejected(tmp_path / "run", "--teacher", f"run:{small_run.run.path}/3") == TeacherError.exit_status
    assert "has not ended; none has" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_directory_goes_where_nothing_was_searched(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What can be known at once is right: the run directory is made and the study is opened before Ray is asked.
    teacher = ("--teacher", f"{LOCAL_DIR}{small_run.run.teacher}")
    assert rejected(tmp_path / "run", *teacher) == ClusterError.exit_status
    assert "Ray at nobody cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [(), ("notes.txt",)], ids=["empty", "with a file"])
def test_a_folder_that_was_there_stays(tmp_path: Path, kept: tuple[str, ...]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in kept:
        (folder / name).touch()
    assert rejected(folder, "--data", "folder:nowhere", "--teacher", "local-dir:t") == DataError.exit_status
    assert {path.name for path in folder.iterdir()} == set(kept)
    assert rejected(folder, "--storage", "notaurl") == StudyError.exit_status
    assert {path.name for path in folder.iterdir()} == {"lock", *kept}
