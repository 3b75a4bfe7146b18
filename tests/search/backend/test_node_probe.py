"""The check of every node of a cluster before anything is computed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, RunError
from nas_distill.search.backend.node_probe import NodeQuestion, answer, check_nodes, probe_nodes, versions

JOINED = ResourcesConfig(address="auto")


@pytest.mark.usefixtures("shared_cluster")
def test_every_node_is_asked_and_leaves_nothing_behind(tmp_path: Path) -> None:
    assert probe_nodes(tmp_path) == (1, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("shared_cluster")
def test_a_file_that_only_workers_cannot_import_is_found_before_the_first_trial(tmp_path: Path) -> None:
    space = tmp_path / "space.py"
    space.write_text(
        textwrap.dedent("""
        import sys
        if "default_worker" in sys.argv[0]:
            import a_package_that_is_installed_here_only
        """)
    )
    with pytest.raises(ClusterError) as caught:
        check_nodes(tmp_path, JOINED, (str(space),), NullProgress())
    assert caught.value.code == "cluster.user_module"
    assert str(caught.value.field).startswith("node ")
    assert "a_package_that_is_installed_here_only" in str(caught.value)
    check_nodes(tmp_path, ResourcesConfig(), (str(space),), NullProgress())  # a cluster of this machine is not asked


def test_a_node_that_does_not_see_the_run_directory_says_so(tmp_path: Path) -> None:
    question = NodeQuestion(folder=tmp_path, marker="marker")
    found = answer(question, has_gpu=False)
    assert isinstance(found, tuple)
    assert found[0] == "cluster.path_not_shared"
    (tmp_path / "marker").touch()
    assert answer(question, has_gpu=False) == versions()


def test_a_run_directory_in_the_package_of_a_ray_job_is_rejected(tmp_path: Path) -> None:
    package = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1" / "runs"
    with pytest.raises(RunError) as caught:
        check_nodes(package, JOINED, (), NullProgress())
    assert (caught.value.code, caught.value.field) == ("cluster.out_in_job_package", "--out")
