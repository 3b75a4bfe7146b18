"""Jobs on a Ray cluster with a dashboard, on loopback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.errors import ClusterError, ConfigError
from nas_distill.run_directory.layout import RunDirectory
from tests.helpers import SmallRun

PORT = 8298
ADDRESS = f"http://127.0.0.1:{PORT}"
CLUSTER = f"""
import sys
from ray.cluster_utils import Cluster
Cluster(head_node_args={{
    "num_cpus": 1, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": {PORT}
}})
print("up", flush=True)
sys.stdin.read()
"""


def test_a_search_without_a_run_directory_is_not_submitted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "submit", "--", "search", "--data", "digits"]) == ConfigError.exit_status
    assert "[cli.job_without_out]" in capsys.readouterr().err


def test_no_cluster_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiohttp")
    assert main(["jobs", "status", "--address", "http://127.0.0.1:1"]) == ClusterError.exit_status
    (line,) = capsys.readouterr().err.splitlines()
    assert "[cluster.jobs_failed]" in line


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_is_stopped_continued_by_another_and_fetched(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp")
    from nas_distill.search.backend.jobs import Jobs

    run = RunDirectory(tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        assert cluster.stdout.readline() == "up\n"
        jobs = Jobs(ADDRESS)
        first = jobs.submit(
            [
                "search", "--data", "digits", "--max-train-images", "160", "--trials", "2", "--epochs", "30",
                "--teacher", f"local-dir:{small_run.run.teacher}", "--asha", "none", "--out", str(run.path),
            ]
        )  # fmt: skip
        for text in jobs.follow(first):
            if "trials to run" in text:
                break
        jobs.stop(first)
        assert jobs.status(first) == "stopped"
        assert list(run.read_events())[-1]["event"] == "interrupted"

        second = jobs.submit(["search", "--resume", str(run.path)])
        assert jobs.wait(second) == "succeeded", jobs.logs(second)
        assert main(["jobs", "fetch", str(run.path), "--out", str(tmp_path / "here"), "--address", ADDRESS]) == 0
        assert (tmp_path / "here" / "report" / "index.html").read_bytes() == (run.report / "index.html").read_bytes()
        assert main(["jobs", "status", "--address", ADDRESS]) == 0
        assert f"{second}  succeeded" in capsys.readouterr().out
        cluster.stdin.close() if cluster.stdin else None
