"""Checks of the installation: versions, torch with torchvision, GPUs, Ray.

Packages are imported in a child process, so that an import that crashes or hangs does not end this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from nas_distill.diagnostics.check_result import Check, CheckStatus

DISTRIBUTION = "nas-distill"
GIB = 2**30
PROBE_TIMEOUT_S = 180
"""Longest wait for a child process, seconds; a first import of PyTorch from a network disk takes minutes."""

_TORCH_PROBE = """
import json, torch, torchvision
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({
    "torch": torch.__version__, "torchvision": torchvision.__version__, "cuda": torch.version.cuda,
    "gpus": [[gpu.name, gpu.total_memory] for gpu in gpus],
}))
"""
_RAY_PROBE = "import json, ray, ray.tune; print(json.dumps(ray.__version__))"
_RAY_TASK_PROBE = """
import json, ray
from nas_distill.search.backend.cluster import start_local_cluster
start_local_cluster(num_cpus=1)
print(json.dumps(ray.get(ray.remote(lambda: 6 * 7).remote(), timeout=120)))
"""

_CLUSTER_PROBE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import NasDistillError
from nas_distill.search.backend.cluster import has_gpus, ray_cluster
from nas_distill.search.backend.node_probe import probe_nodes
address, folder = sys.argv[1:]
try:
    with ray_cluster(ResourcesConfig(address=address), NullProgress()):
        count, problems = probe_nodes(Path(folder).resolve(), cuda=has_gpus())
    print(json.dumps({"count": count, "problems": [asdict(one) for one in problems]}))
except NasDistillError as error:
    print(json.dumps({"error": str(error)}))
"""


def check_python() -> Check:
    """Report version and path of the interpreter."""
    finding = f"{sys.version.split()[0]} ({sys.executable})"
    return Check(name="Python", status=CheckStatus.OK, finding=finding)


def check_packages() -> Check:
    """Check the installed version of every dependency against the requirements of this project."""
    try:
        requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return Check(
            name="packages", status=CheckStatus.WARN, finding=f"{DISTRIBUTION} itself is not installed",
            fix="pip install -e .",
        )  # fmt: skip
    return compare_packages(requirements, {item.name: _installed(item.name) for item in requirements})


def compare_packages(requirements: list[Requirement], installed: dict[str, str | None]) -> Check:
    """Compare installed versions with requirements; requirements of extras are ignored.

    Args:
        requirements: Requirements of this project.
        installed: Installed version of each name in `requirements`; None if it is missing.
    """
    required = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    broken = []
    for item in required:
        version = installed.get(item.name)
        if version is None:
            broken.append(f"{item.name} is missing (required: {item.specifier})")
        elif not item.specifier.contains(version, prereleases=True):
            broken.append(f"{item.name} {version} (required: {item.specifier})")
    if broken:
        return Check(
            name="packages",
            status=CheckStatus.FAIL,
            finding="; ".join(broken),
            fix=f"pip install -U {DISTRIBUTION}",
        )
    return Check(name="packages", status=CheckStatus.OK, finding=f"{len(required)} packages in their required versions")


def check_torch(*, driver: bool) -> Iterator[Check]:
    """Import torch and torchvision, check that they fit together, and list the GPUs.

    Args:
        driver: Whether nvidia-smi is installed.
    """
    probe, error = _probe(_TORCH_PROBE)
    yield compare_torch_builds(
        _installed("torch"), _installed("torchvision"), required_torch=_required_torch(), import_error=error
    )
    if probe is not None:
        yield describe_gpus(probe["gpus"], cuda=probe["cuda"], driver=driver)


def compare_torch_builds(
    torch: str | None, torchvision: str | None, *, required_torch: str | None, import_error: str | None
) -> Check:
    """Check whether torch and torchvision come from the same build.

    Args:
        torch: Installed version with its local tag, such as "2.11.0+cpu"; None if it is missing.
        torchvision: Installed version of torchvision; None if it is missing.
        required_torch: Version of torch that torchvision requires, such as "==2.11.0"; None if unknown.
        import_error: Last line of the error raised by importing both; None if the import succeeds.
    """
    name = "torch and torchvision"
    fix = (
        "take both from one index: pip install --force-reinstall torch torchvision "
        "(or both with the same --index-url, as `make TORCH_INDEX=url` does)"
    )
    finding = f"torch {torch or 'missing'}, torchvision {torchvision or 'missing'}"
    if torch is None or torchvision is None:
        return Check(name=name, status=CheckStatus.FAIL, finding=finding, fix="pip install torch torchvision")
    if import_error is not None:
        cause = ": two different builds" if "torchvision::nms" in import_error else ""
        return Check(name=name, status=CheckStatus.FAIL, finding=f"{finding}{cause}; {import_error}", fix=fix)
    if required_torch and not Requirement(f"torch{required_torch}").specifier.contains(torch, prereleases=True):
        finding = f"{finding}, which requires torch{required_torch}"
        return Check(name=name, status=CheckStatus.WARN, finding=finding, fix=fix)
    if Version(torch).local != Version(torchvision).local:
        return Check(name=name, status=CheckStatus.WARN, finding=f"{finding}: two different builds", fix=fix)
    return Check(name=name, status=CheckStatus.OK, finding=finding)


def describe_gpus(gpus: list[tuple[str, int]], *, cuda: str | None, driver: bool) -> Check:
    """Check the GPUs that torch finds.

    Args:
        gpus: Name and memory (bytes) of each GPU.
        cuda: CUDA version of the torch build; None for a CPU build.
        driver: Whether nvidia-smi is installed.
    """
    if gpus:
        finding = ", ".join(f"{name} ({memory / GIB:.0f} GiB)" for name, memory in gpus)
        return Check(name="GPUs", status=CheckStatus.OK, finding=finding)
    if driver:
        finding = f"torch finds none (built for {'CUDA ' + cuda if cuda else 'CPU'}), but nvidia-smi is installed"
        fix = "check `nvidia-smi`, CUDA_VISIBLE_DEVICES, and that torch's CUDA is no newer than the driver"
        return Check(name="GPUs", status=CheckStatus.WARN, finding=finding, fix=fix)
    return Check(name="GPUs", status=CheckStatus.OK, finding="none; trials run on CPU")


def check_ray() -> Check:
    """Check that Ray Tune can be imported."""
    version, error = _probe(_RAY_PROBE)
    if error is not None:
        return Check(name="Ray", status=CheckStatus.FAIL, finding=error, fix="pip install -U 'ray[tune]'")
    return Check(name="Ray", status=CheckStatus.OK, finding=f"{version} imports")


def check_ray_task() -> Check:
    """Start a local Ray and run one task."""
    result, error = _probe(_RAY_TASK_PROBE)
    if result != 42:
        fix = "read Ray's logs (ray/session_latest/logs in the temporary folder); check firewall and proxy settings"
        finding = error or f"a task returned {result!r}"
        return Check(name="Ray task", status=CheckStatus.FAIL, finding=finding, fix=fix)
    return Check(name="Ray task", status=CheckStatus.OK, finding="a local Ray started and ran one task")


def check_cluster(address: str, folder: Path) -> Iterator[Check]:
    """Join a cluster and check each of its nodes, as a search does before its first trial.

    Args:
        address: Address of the cluster.
        folder: Folder of run directories, on a path that all nodes share.
    """
    name = "cluster"
    found, error = _probe(_CLUSTER_PROBE, address, str(folder))
    error = error or found.get("error")
    if error is not None:
        fix = "check `ray status` on the head node, the address, and RAY_AUTH_MODE=token"
        yield Check(name=name, status=CheckStatus.FAIL, finding=error, fix=fix)
        return
    for problem in found["problems"]:
        finding, _, fix = problem["finding"].partition("; ")
        yield Check(name=f"node {problem['node']}", status=CheckStatus.FAIL, finding=finding, fix=fix)
    if not found["problems"]:
        finding = f"{found['count']} nodes have these versions and see {folder}"
        yield Check(name=name, status=CheckStatus.OK, finding=finding)


def _probe(code: str, *arguments: str) -> tuple[Any, str | None]:
    """Run code in a child process; return its output, parsed as JSON, or the last line of its error output."""
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and our own code
            [sys.executable, "-P", "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no result within {PROBE_TIMEOUT_S} s"
    lines = child.stdout.strip().splitlines()
    if child.returncode == 0 and lines:
        return json.loads(lines[-1]), None
    error_lines = child.stderr.strip().splitlines()
    return None, error_lines[-1] if error_lines else f"the child process ended with {child.returncode}"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _required_torch() -> str | None:
    try:
        requirements = [Requirement(text) for text in metadata.requires("torchvision") or ()]
    except metadata.PackageNotFoundError:
        return None
    return next((str(item.specifier) for item in requirements if item.name == "torch"), None)
