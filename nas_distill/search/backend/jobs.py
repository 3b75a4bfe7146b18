"""Jobs on a Ray cluster, through Ray's Jobs API: an HTTP client that needs no Ray node on this machine."""

from __future__ import annotations

import os
import shlex
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas_distill.errors import ClusterError, InstallationError, one_line
from nas_distill.search.backend.ray_private import DASHBOARD_ADDRESS

_EXCLUDED = ("runs", ".git", ".venv", "__pycache__")
"""Folders of a working folder that are not uploaded."""

_POLL_S = 1.0


class Jobs:
    """The jobs of a cluster.

    Args:
        address: Address of the cluster's dashboard, such as http://127.0.0.1:8265.

    Raises:
        InstallationError: The parts of Ray that submit jobs are not installed.
        ClusterError: No cluster answers there. All methods raise this error.
    """

    def __init__(self, address: str) -> None:
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise InstallationError(
                f"jobs need more of Ray ({one_line(error)}); pip install 'nas-distill[cluster]'",
                code="cluster.jobs_not_installed",
            ) from error
        self._address = os.environ[DASHBOARD_ADDRESS] = address
        self._client: Any = self._call(lambda: JobSubmissionClient(address))

    def submit(
        self,
        arguments: Sequence[str],
        *,
        working_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Start a command of nas_distill as a job, and return the job's name.

        Args:
            arguments: Verb and arguments.
            working_dir: Folder to upload, in which the command runs; None for none.
            environment: Environment variables of the job and its workers.
        """
        runtime: dict[str, Any] = {"env_vars": dict(environment or {})}
        if working_dir is not None:
            runtime |= {"working_dir": str(working_dir), "excludes": list(_EXCLUDED)}
        name = f"nas_distill-{uuid.uuid4().hex[:8]}"
        command = shlex.join(["python", "-m", "nas_distill", *arguments])
        self._call(lambda: self._client.submit_job(entrypoint=command, submission_id=name, runtime_env=runtime))
        return name

    def status(self, name: str) -> str:
        """Return the state of a job in lower case, such as "running"."""
        return str(self._call(lambda: self._client.get_job_status(name)).value).lower()

    def describe(self, name: str) -> str:
        """Return Ray's message about a job, one line; empty without one."""
        return " ".join(str(self._call(lambda: self._client.get_job_info(name)).message or "").split())

    def names(self) -> list[str]:
        """Return the names of all jobs that were submitted here, the latest last."""
        jobs = self._call(self._client.list_jobs)
        own = [job for job in jobs if (job.submission_id or "").startswith("nas_distill-")]
        return [str(job.submission_id) for job in sorted(own, key=lambda job: job.start_time or 0)]

    def logs(self, name: str) -> str:
        """Return what a job has printed so far."""
        return str(self._call(lambda: self._client.get_job_logs(name)))

    def follow(self, name: str) -> Iterator[str]:
        """Yield what a job prints until it ends."""
        shown = 0
        while True:
            ended = self.has_ended(name)
            text = self.logs(name)
            yield text[shown:]
            shown = len(text)
            if ended:
                return
            time.sleep(_POLL_S)

    def stop(self, name: str) -> None:
        """Send SIGTERM to a job, and return when it has ended."""
        self._call(lambda: self._client.stop_job(name))
        self.wait(name)

    def wait(self, name: str) -> str:
        """Return the state of a job once it has ended."""
        while not self.has_ended(name):
            time.sleep(_POLL_S / 4)
        return self.status(name)

    def has_ended(self, name: str) -> bool:
        """Return whether a job has ended."""
        return bool(self._call(lambda: self._client.get_job_status(name)).is_terminal())

    def _call(self, function: Any) -> Any:
        try:
            return function()
        except (RuntimeError, ConnectionError, OSError, ValueError) as error:
            raise ClusterError(
                f"the jobs of the cluster cannot be used: {one_line(error)}; check the address of the dashboard (port "
                "8265), the name of the job, and RAY_AUTH_MODE=token where the cluster asks for a token",
                code="cluster.jobs_failed",
                field=self._address,
            ) from error
