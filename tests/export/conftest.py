from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from nas_distill.records.export import ExportManifest
from nas_distill.run_directory.layout import RunDirectory
from tests.export.runs import OWN, PLAIN, export, make_run
from tests.helpers import SmallRun


@dataclass(frozen=True)
class Exported:
    """An export that tests share: read it only."""

    folder: Path
    manifest: ExportManifest


@pytest.fixture(scope="session")
def finished(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(small_run, tmp_path_factory.mktemp("finished") / "digits")


@pytest.fixture(scope="session")
def everything(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A student of this project's architecture in every format."""
    folder = tmp_path_factory.mktemp("everything") / "export"
    return Exported(folder, export(finished, OWN, folder, "timm", "onnx", "torch-export", int8=True))


@pytest.fixture(scope="session")
def plain(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A student of timm's architecture as timm files."""
    folder = tmp_path_factory.mktemp("plain") / "export"
    return Exported(folder, export(finished, PLAIN, folder, "timm"))
