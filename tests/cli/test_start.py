"""A search with wrong inputs ends before it reaches Ray and leaves no run directory."""

from __future__ import annotations

from pathlib import Path

import pytest

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
from tests.cli.shell import error_of
from tests.data.files import write_class_folders
from tests.helpers import SmallRun

NO_CLUSTER = ("--address", "nobody")
"""An address that Ray rejects at once: a search that reaches the cluster ends with a `ClusterError`."""


def rejected(folder: Path, *arguments: str) -> NasDistillError:
    return error_of("search", "--out", folder, *NO_CLUSTER, *arguments)


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "pictures", {"cat": 2, "dog": 2})
    write_class_folders(tmp_path / "one", {"cat": 2})
    (tmp_path / "empty").mkdir()


@pytest.mark.parametrize(
    ("arguments", "error", "value"),
    [
        (("--data", "folder:nowhere", "--teacher", "local-dir:t"), DataError, "{here}/nowhere"),
        (("--data", "folder:empty", "--teacher", "local-dir:t"), DataError, "{here}/empty"),
        (("--data", "folder:one", "--teacher", "local-dir:t"), DataError, "cat"),
        (("--data", "photos", "--teacher", "local-dir:t"), DataError, "'photos'"),
        (("--data", "torch/mnist", "--teacher", "local-dir:t"), DataError, "data.root"),
        (("--data", "torch/mnist", "--data-root", "no", "--teacher", "x"), DataError, "data.download"),
        (("--data", "folder:pictures", "--teacher", "local-dir:t"), TeacherError, "{here}/t"),
        (("--data", "torch/mnist", "--data-root", ".", "--teacher", "local-dir:t"), TeacherError, "config.json"),
        (("--teacher", "run:no/run/3"), TeacherError, "{here}/no/run"),
        (("--teacher", "resnet3"), TeacherError, "'resnet3'"),
        (("--teacher", "resnet18"), TeacherError, "'resnet18'"),
        (("--teacher", "resnet18", "--teacher-checkpoint", "w"), TeacherError, "{here}/w"),
        (("--teacher", "local-dir:t", "--set", "teacher.arguments.x=1"), TeacherError, "teacher.arguments"),
        (("--space", "tinny"), SpaceError, "'tiny'"),
        (("--recipe", "serach"), SpaceError, "'serach'"),
        (("--initial-points", "no.yaml"), ConfigError, "{here}/no.yaml"),
        (("--set", "asha.rule=layer"), ConfigError, "'layers'"),
        (("--storage", "notaurl"), StudyError, "'notaurl'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_input_ends_the_search_before_it_reaches_the_cluster(
    tmp_path: Path, arguments: tuple[str, ...], error: type[NasDistillError], value: str
) -> None:
    found = rejected(tmp_path / "run", *arguments)
    assert type(found) is error
    assert value.format(here=tmp_path) in str(found)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_trial_cannot_be_the_teacher(small_run: SmallRun, tmp_path: Path) -> None:
    (small_run.run.path / "config.yaml").touch()
    error = rejected(tmp_path / "run", "--teacher", f"run:{small_run.run.path}/3")
    assert isinstance(error, TeacherError)
    assert not (tmp_path / "run").exists()


def test_a_new_run_directory_is_removed_if_the_cluster_is_unreachable(small_run: SmallRun, tmp_path: Path) -> None:
    # All other inputs are valid: the run directory and the study exist before the cluster is contacted.
    error = rejected(tmp_path / "run", "--teacher", f"{LOCAL_DIR}{small_run.run.teacher}")
    assert isinstance(error, ClusterError)
    assert not (tmp_path / "run").exists()


def test_a_run_directory_inside_the_images_or_the_teacher_is_rejected(small_run: SmallRun, tmp_path: Path) -> None:
    teacher = small_run.run.teacher
    for folder, arguments in (
        (tmp_path / "pictures" / "runs" / "one", ("--data", "folder:pictures", "--teacher", f"{LOCAL_DIR}{teacher}")),
        (teacher / "run", ("--teacher", f"{LOCAL_DIR}{teacher}")),
    ):
        error = rejected(folder, *arguments)
        assert (error.code, error.field) == ("search.out_inside_input", "--out")
        assert not folder.exists()


@pytest.mark.parametrize("kept", [(), ("notes.txt",)], ids=["empty", "with a file"])
def test_an_existing_folder_is_kept(tmp_path: Path, kept: tuple[str, ...]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in kept:
        (folder / name).touch()
    assert isinstance(rejected(folder, "--data", "folder:nowhere", "--teacher", "local-dir:t"), DataError)
    assert {path.name for path in folder.iterdir()} == set(kept)
    assert isinstance(rejected(folder, "--storage", "notaurl"), StudyError)
    assert {path.name for path in folder.iterdir()} == {"lock", *kept}
