"""Checks of the installation: versions, torch with torchvision, GPUs, Ray.

Packages are imported in a child process: an import that aborts or hangs must not take the doctor along.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from nas_distill.diagnostics.check_result import Check, CheckStatus

DISTRIBUTION = "nas-distill"
GIB = 2**30
PROBE_TIMEOUT_S = 180
"""Longest wait for a child process; a cold import of torch from a network disk takes minutes."""

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
from ray._private import ray_constants
ray_constants.ENABLE_RAY_CLUSTER = False  # loopback only, as a search's own cluster
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(json.dumps(ray.get(ray.remote(lambda: 6 * 7).remote(), timeout=120)))
"""


def check_python() -> Check:
    """Checks the interpreter."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    return Check(name="Python", status=CheckStatus.OK, found=found)


def check_packages() -> Check:
    """Checks every dependency's installed version against the bounds of this project's metadata."""
    try:
        requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return Check(
            name="packages", status=CheckStatus.WARN, found=f"{DISTRIBUTION} itself is not installed",
            fix="pip install -e .",
        )  # fmt: skip
    return judge_packages(requirements, {item.name: _installed(item.name) for item in requirements})


def judge_packages(requirements: list[Requirement], installed: dict[str, str | None]) -> Check:
    """Judges versions against requirements; those of extras are not asked for.

    Args:
        requirements: Of this project.
        installed: Version by name as in `requirements`; None when missing.
    """
    wanted = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    broken = []
    for item in wanted:
        version = installed.get(item.name)
        if version is None:
            broken.append(f"{item.name} is missing ({item.specifier} wanted)")
        elif not item.specifier.contains(version, prereleases=True):
            broken.append(f"{item.name} {version} ({item.specifier} wanted)")
    if broken:
        return Check(
            name="packages",
            status=CheckStatus.FAIL,
            found="; ".join(broken),
            fix=f"pip install -U {DISTRIBUTION}",
        )
    return Check(name="packages", status=CheckStatus.OK, found=f"{len(wanted)} packages within their bounds")


def check_torch(*, driver: bool) -> Iterator[Check]:
    """Imports torch and torchvision, and checks that they fit together and which GPUs they see.

    Args:
        driver: Whether the machine has NVIDIA's tools.
    """
    probe, error = _probe(_TORCH_PROBE)
    yield judge_torch_pair(
        _installed("torch"), _installed("torchvision"), torch_wanted=_torch_wanted(), import_error=error
    )
    if probe is not None:
        yield judge_gpus(probe["gpus"], cuda=probe["cuda"], driver=driver)


def judge_torch_pair(
    torch: str | None, torchvision: str | None, *, torch_wanted: str | None, import_error: str | None
) -> Check:
    """Judges whether torch and torchvision come from one build.

    Args:
        torch: Installed version with its local tag, such as "2.11.0+cpu"; None when missing.
        torchvision: Likewise.
        torch_wanted: What torchvision's metadata asks of torch, such as "==2.11.0"; None when unknown.
        import_error: Last line of what importing both raised; None when they import.
    """
    name = "torch and torchvision"
    fix = (
        "take both from one index: pip install --force-reinstall torch torchvision "
        "(or both with the same --index-url, as `make TORCH_INDEX=url` does)"
    )
    found = f"torch {torch or 'missing'}, torchvision {torchvision or 'missing'}"
    if torch is None or torchvision is None:
        return Check(name=name, status=CheckStatus.FAIL, found=found, fix="pip install torch torchvision")
    if import_error is not None:
        cause = ": two different builds" if "torchvision::nms" in import_error else ""
        return Check(name=name, status=CheckStatus.FAIL, found=f"{found}{cause}; {import_error}", fix=fix)
    if torch_wanted and not Requirement(f"torch{torch_wanted}").specifier.contains(torch, prereleases=True):
        found = f"{found}, which was built for torch{torch_wanted}"
        return Check(name=name, status=CheckStatus.WARN, found=found, fix=fix)
    if Version(torch).local != Version(torchvision).local:
        return Check(name=name, status=CheckStatus.WARN, found=f"{found}: two different builds", fix=fix)
    return Check(name=name, status=CheckStatus.OK, found=found)


def judge_gpus(gpus: list[tuple[str, int]], *, cuda: str | None, driver: bool) -> Check:
    """Judges the GPUs that torch sees.

    Args:
        gpus: Name and memory in bytes of each.
        cuda: CUDA version that torch was built for; None for a CPU build.
        driver: Whether the machine has NVIDIA's tools.
    """
    if gpus:
        found = ", ".join(f"{name} ({memory / GIB:.0f} GiB)" for name, memory in gpus)
        return Check(name="GPUs", status=CheckStatus.OK, found=found)
    if driver:
        found = f"torch sees none (built for {'CUDA ' + cuda if cuda else 'CPU'}), but nvidia-smi is here"
        fix = "check `nvidia-smi`, CUDA_VISIBLE_DEVICES, and that torch's CUDA is no newer than the driver"
        return Check(name="GPUs", status=CheckStatus.WARN, found=found, fix=fix)
    return Check(name="GPUs", status=CheckStatus.OK, found="none; trials run on CPU")


def check_ray() -> Check:
    """Checks that Ray Tune imports."""
    version, error = _probe(_RAY_PROBE)
    if error is not None:
        return Check(name="Ray", status=CheckStatus.FAIL, found=error, fix="pip install -U 'ray[tune]'")
    return Check(name="Ray", status=CheckStatus.OK, found=f"{version} imports")


def check_ray_task() -> Check:
    """Starts a local Ray and runs one task."""
    answer, error = _probe(_RAY_TASK_PROBE)
    if answer != 42:
        fix = "read Ray's logs (ray/session_latest/logs in the temporary folder); is a firewall or proxy on?"
        found = error or f"a task returned {answer!r}"
        return Check(name="Ray task", status=CheckStatus.FAIL, found=found, fix=fix)
    return Check(name="Ray task", status=CheckStatus.OK, found="a local Ray started and ran one")


def _probe(code: str) -> tuple[Any, str | None]:
    """Runs code in a child process; returns what it printed as JSON, or the last line of its complaint."""
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and our own code
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PROBE_TIMEOUT_S} s"
    lines = child.stdout.strip().splitlines()
    if child.returncode == 0 and lines:
        return json.loads(lines[-1]), None
    complaint = child.stderr.strip().splitlines()
    return None, complaint[-1] if complaint else f"the child process ended with {child.returncode}"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch_wanted() -> str | None:
    try:
        requirements = [Requirement(text) for text in metadata.requires("torchvision") or ()]
    except metadata.PackageNotFoundError:
        return None
    return next((str(item.specifier) for item in requirements if item.name == "torch"), None)
