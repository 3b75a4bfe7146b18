"""Checks every node of a joined cluster once, before anything is computed: `doctor --address` and a search do the same.

The part that runs on a node imports little, so that it can report what is missing there.
"""

from __future__ import annotations

import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, NasDistillError, RunError, last_line, one_line
from nas_distill.search.backend.cluster import joins_cluster
from nas_distill.search.backend.ray_private import is_in_job_package
from nas_distill.user_code import USER_MODULE_FIELDS, import_modules
from nas_distill.version import __version__

PACKAGES = ("ray", "torch", "torchvision", "timm", "optuna", "numpy")
"""Packages whose versions must agree on all nodes; nas_distill itself must too."""

_TIMEOUT_S = 180.0
"""Longest wait for all nodes; a first import from a network disk takes minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeQuestion:
    """What is asked of every node.

    Attributes:
        folder: The run directory, or a folder of future runs.
        marker: Name of a file in `folder` that the driver wrote.
        user_modules: Modules and files of the user that workers import.
        cuda: Whether trials take a GPU.
    """

    folder: Path
    marker: str
    user_modules: tuple[str, ...] = ()
    cuda: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProblem:
    """Why a node cannot train.

    Attributes:
        node: Address of the node.
        code: Error code.
        finding: What is wrong and how to fix it, one line.
    """

    node: str
    code: str
    finding: str


def probe_nodes(folder: Path, *, user_modules: Sequence[str] = (), cuda: bool = False) -> tuple[int, list[NodeProblem]]:
    """Ask every node of the connected cluster that could hold work.

    Args:
        folder: The run directory, or a folder of future runs, in which the driver can write.
        user_modules: Modules and files of the user that workers import.
        cuda: Whether trials take a GPU; nodes without one are not asked for CUDA.

    Returns:
        The number of nodes asked, and their problems.
    """
    marker = folder / f".probe-{uuid.uuid4().hex}"
    question = NodeQuestion(folder=folder, marker=marker.name, user_modules=tuple(user_modules), cuda=cuda)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0.0) > 0]
    expected = versions()
    marker.write_text("probe", encoding="utf-8")
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(answer)
        answers = {
            node["NodeManagerAddress"]: ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(question, has_gpu=node["Resources"].get("GPU", 0.0) > 0)
            for node in nodes
        }
        problems = []
        for node, pending in answers.items():
            problem = _problem(node, pending, expected)
            if problem is not None:
                problems.append(problem)
    finally:
        marker.unlink(missing_ok=True)
    return len(nodes), problems


def check_nodes(folder: Path, resources: ResourcesConfig, user_modules: Sequence[str], progress: Progress) -> None:
    """Check every node of a joined cluster; a cluster of this machine needs no check.

    Args:
        folder: The run directory.
        resources: What a trial takes.
        user_modules: Modules and files of the user that workers import.
        progress: Watcher of the work.

    Raises:
        ClusterError: A node cannot train.
        RunError: The run directory lies in the package of a Ray job.
    """
    if not joins_cluster(resources):
        return
    if is_in_job_package(folder):
        raise RunError(
            f"{folder} lies in the package folder of the Ray job, which is on one node and is removed with the job; "
            "give --out on a path that all nodes share",
            code="cluster.out_in_job_package",
            field="--out",
        )
    count, problems = probe_nodes(folder, user_modules=user_modules, cuda=resources.gpus_per_trial != 0)
    errors = [ClusterError(one.finding, code=one.code, field=f"node {one.node}") for one in problems]
    if errors:
        first = errors[0]
        raise ClusterError(problems[0].finding, code=first.code, field=first.field, others=tuple(errors[1:]))
    progress.event("cluster", f"{count} node{'' if count == 1 else 's'} checked: versions, run directory, user files")


def versions() -> dict[str, str]:
    """Return the versions on this machine that must agree on all nodes."""
    found = {"nas_distill": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def answer(question: NodeQuestion, *, has_gpu: bool) -> dict[str, str] | tuple[str, str]:
    """Return the versions of a node, or an error code and what is wrong there. Runs on that node."""
    folder = question.folder
    if not (folder / question.marker).exists():
        return (
            "cluster.path_not_shared",
            f"does not see the files of {folder}; put the run directory (--out) on a path that all nodes share",
        )
    own = folder / f"{question.marker}-{uuid.uuid4().hex}"
    try:
        own.write_text("probe", encoding="utf-8")
        own.unlink()
    except OSError as error:
        return "cluster.path_not_writable", f"cannot write in {folder}: {error.strerror}; check owner and mount options"
    try:
        import_modules(question.user_modules, field=USER_MODULE_FIELDS)
    except NasDistillError as error:
        return "cluster.user_module", f"{one_line(error)} (there)"
    if question.cuda and has_gpu:
        import torch

        if not torch.cuda.is_available():
            return (
                "cluster.no_cuda",
                "claims a GPU that torch does not find; check the driver and the build of torch there",
            )
    return versions()


def _problem(node: str, pending: object, expected: dict[str, str]) -> NodeProblem | None:
    try:
        found = ray.get(pending, timeout=_TIMEOUT_S)
    except GetTimeoutError:
        finding = f"did not answer within {_TIMEOUT_S:.0f} s; check it with `ray status`, or remove it"
        return NodeProblem(node=node, code="cluster.node_unusable", finding=finding)
    except RayError as error:
        finding = f"cannot run nas_distill: {last_line(error)}; install the same nas_distill as here"
        return NodeProblem(node=node, code="cluster.node_unusable", finding=finding)
    if isinstance(found, tuple):
        return NodeProblem(node=node, code=found[0], finding=found[1])
    other = [f"{name} {found[name]} (here {wanted})" for name, wanted in expected.items() if found[name] != wanted]
    if not other:
        return None
    finding = f"has other versions: {', '.join(other)}; install the same on all nodes"
    return NodeProblem(node=node, code="cluster.other_versions", finding=finding)
