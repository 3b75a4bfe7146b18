from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.service import start_search
from tests.faults.runs import small_config
from tests.helpers import Heard, SmallRun
from tests.search.conftest import forks, shared_cluster

__all__ = ["forks", "shared_cluster"]


@pytest.fixture(scope="module")
def finished_run(small_run: SmallRun, shared_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished search, which tests do not change."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return start_search(small_config(small_run), folder, Heard()).run


@pytest.fixture
def run(finished_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished search, to be damaged."""
    shutil.copytree(finished_run.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")
