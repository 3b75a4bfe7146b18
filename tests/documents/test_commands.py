"""The commands of the README and of the help, run on photos of different sizes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from PIL import Image

from nas_distill.callbacks import NullProgress
from nas_distill.cli import search, teacher
from nas_distill.cli.options import given_values
from nas_distill.config import DataConfig
from nas_distill.config.loading import load_config
from nas_distill.config.space import PHOTO_SPACE
from nas_distill.data.prepare import prepare_data
from nas_distill.search.spaces.loading import load_space
from tests.data.files import random_pixels

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SHOWN = {
    "README.md": README,
    "teacher --help": teacher.command.help or "",
    "search --help": search.command.help or "",
}
VERBS: dict[str, click.Command] = {"search": search.command, "teacher": teacher.command}


def commands(text: str) -> list[tuple[str, DataConfig, dict[str, object]]]:
    """Return verb, images and parameters of each command on a folder of photos."""
    found = []
    for line in re.findall(r"(?m)^ *python -m nas_distill ((?:search|teacher) .*)$", text.replace("\\\n", " ")):
        verb, *arguments = shlex.split(line)
        parameters = VERBS[verb].make_context(verb, arguments).params
        flags = search.FLAGS if verb == "search" else teacher.FLAGS
        config = load_config(None, (), {"teacher.model": "any", **given_values(flags, parameters)})
        if config.data.source == "folder:photos":
            found.append((verb, config.data, parameters))
    return found


@pytest.mark.parametrize("document", SHOWN)
def test_shown_commands_accept_photos_of_different_sizes(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("cat", "dog"):
        for number in range(10):
            path = tmp_path / "photos" / kind / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random_pixels(number, 30 + number, 40)).save(path)
    shown = commands(SHOWN[document])
    assert "search" in [verb for verb, _, _ in shown]
    (size,) = {prepare_data(data, tmp_path / verb, NullProgress()).image_size for verb, data, _ in shown}
    for space in (str(parameters["space"] or PHOTO_SPACE) for verb, _, parameters in shown if verb == "search"):
        info = load_space(space).info
        assert info is not None
        assert info.min_image_size <= size <= info.max_image_size
