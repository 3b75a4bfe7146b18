from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nas_distill.diagnostics import CheckStatus
from nas_distill.diagnostics.packages import check_packages, compare_packages, compare_torch_builds, describe_gpus

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
GIB = 2**30


def test_this_environment_meets_the_requirements_of_pyproject() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    check = check_packages()
    assert check.status is CheckStatus.OK
    assert check.finding.startswith(f"{len(project['dependencies'])} packages")


def test_old_and_missing_packages_are_listed_with_their_requirements() -> None:
    requirements = [Requirement(text) for text in ("torch>=2.11", "timm>=1.0.20", "optuna>=5", "dev>=1; extra == 'x'")]
    check = compare_packages(requirements, {"torch": "2.10.1", "timm": None, "optuna": "5.0.0"})
    assert check.status is CheckStatus.FAIL
    assert check.finding == "torch 2.10.1 (required: >=2.11); timm is missing (required: >=1.0.20)"


@pytest.mark.parametrize("version", ["2.11.0+cu128", "2.12.0.dev20260101", "3.0"])
def test_local_and_later_versions_meet_the_requirements(version: str) -> None:
    assert compare_packages([Requirement("torch>=2.11")], {"torch": version}).status is CheckStatus.OK


@pytest.mark.parametrize(
    ("torch", "torchvision", "wanted", "error", "status"),
    [
        ("2.11.0", "0.26.0", "==2.11.0", None, CheckStatus.OK),
        ("2.11.0+cpu", "0.26.0+cpu", "==2.11.0", None, CheckStatus.OK),
        ("2.11.0+cu128", "0.26.0+cu128", None, None, CheckStatus.OK),
        ("2.11.0+cpu", "0.26.0", "==2.11.0", None, CheckStatus.WARN),
        ("2.11.0+cu128", "0.26.0+cu126", "==2.11.0", None, CheckStatus.WARN),
        ("2.12.0", "0.26.0", "==2.11.0", None, CheckStatus.WARN),
        (
            "2.11.0+cpu",
            "0.26.0",
            "==2.11.0",
            "RuntimeError: operator torchvision::nms does not exist",
            CheckStatus.FAIL,
        ),
        (
            "2.11.0",
            "0.26.0",
            "==2.11.0",
            "OSError: libcudart.so.13: cannot open shared object file",
            CheckStatus.FAIL,
        ),
        (None, "0.26.0", None, "ModuleNotFoundError: No module named 'torch'", CheckStatus.FAIL),
        ("2.11.0", None, None, "ModuleNotFoundError: No module named 'torchvision'", CheckStatus.FAIL),
    ],
)
def test_torch_and_torchvision_must_come_from_the_same_build(
    torch: str | None, torchvision: str | None, wanted: str | None, error: str | None, status: CheckStatus
) -> None:
    check = compare_torch_builds(torch, torchvision, required_torch=wanted, import_error=error)
    assert check.status is status
    assert (check.fix == "") == (status is CheckStatus.OK)
    for version in filter(None, (torch, torchvision)):
        assert version in check.finding
    assert ("two different builds" in check.finding) == (
        "nms" in (error or "") or (status is CheckStatus.WARN and torch != "2.12.0")
    )


def test_gpus() -> None:
    found = describe_gpus([("NVIDIA H200", 139 * GIB)] * 2, cuda="13.0", driver=True)
    assert (found.status, found.finding) == (CheckStatus.OK, "NVIDIA H200 (139 GiB), NVIDIA H200 (139 GiB)")
    unseen = describe_gpus([], cuda=None, driver=True)
    assert unseen.status is CheckStatus.WARN
    assert "built for CPU" in unseen.finding
    assert describe_gpus([], cuda="13.0", driver=False).status is CheckStatus.OK
