"""The wheel contains what users need and nothing else, and works outside the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
WHERE = """
import json, nas_distill, search_spaces
print(json.dumps([nas_distill.__file__, search_spaces.__file__]))
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    variables = {**os.environ, **environment}
    child = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=240, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), ".", cwd=CHECKOUT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder),
    )
    run(*pip, str(wheel), cwd=folder)
    return folder


def test_the_wheel_holds_all_modules_and_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("nas_distill", "search_spaces"):
        files = {
            path.relative_to(CHECKOUT).as_posix()
            for path in (CHECKOUT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert files <= names
        assert any(name.endswith(".py") for name in files)
    assert "nas_distill/py.typed" in names
    assert any(name.startswith("nas_distill/report/templates/") for name in names)


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    (metadata,) = tops - {"nas_distill", "search_spaces"}
    assert metadata.endswith(".dist-info")


def test_the_installed_script_is_called_nas_distill(wheel: Path, installed: Path, tmp_path: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert re.findall(r"(?m)^(\S+) *= *(\S+)$", archive.read(name).decode()) == [
        ("nas_distill", "nas_distill.__main__:main")
    ]
    shown = run(str(installed / "bin" / "nas_distill"), "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert shown.startswith("nas_distill, version ")


@pytest.mark.parametrize("part", ["README.md", "CONTRIBUTING.md", "Makefile", "docs", "nas_distill", "search_spaces"])
def test_no_command_is_called_by_the_name_of_the_distribution(part: str) -> None:
    """`nas-distill` is what pip installs; what users type is `nas_distill`."""
    files = [path for path in (CHECKOUT / part, *(CHECKOUT / part).rglob("*")) if path.suffix in {"", ".md", ".py"}]
    for path in files:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        assert not re.findall(r"nas-distill(?= [A-Za-z-]|`|$)", text, re.MULTILINE), path


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert "Apache License" in archive.read(name).decode()


def test_an_installed_wheel_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    files = json.loads(run(sys.executable, "-c", WHERE, cwd=tmp_path, PYTHONPATH=str(installed)))
    assert all(Path(file).is_relative_to(installed) for file in files)
    spaces = run(sys.executable, "-m", "nas_distill", "spaces", "list", cwd=tmp_path, PYTHONPATH=str(installed))
    assert {"tiny", "resnet"} <= {line.split()[0] for line in spaces.splitlines()}
    shown = run(sys.executable, "-m", "nas_distill", "spaces", "show", "tiny", cwd=tmp_path, PYTHONPATH=str(installed))
    assert shown.startswith(f"# {installed}")


def test_the_editable_install_is_this_checkout(tmp_path: Path) -> None:
    files = json.loads(run(sys.executable, "-c", WHERE, cwd=tmp_path))
    assert all(Path(file).is_relative_to(CHECKOUT) for file in files)
