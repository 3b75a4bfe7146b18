"""Files of torch.export are opened only without pickles."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from nas_distill.errors import ExportError
from nas_distill.inference.program import open_program


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def saved(path: Path, *, examples: bool) -> Path:
    program = torch.export.export(nn.Linear(3, 2), (torch.rand(2, 3),))
    if not examples:
        program.example_inputs = None
    torch.export.save(program, path)
    return path


def changed(path: Path, part: str, content: bytes) -> Path:
    """Return a copy of an archive in which the part that ends with `part` has another content."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith(part) else old.read(info))
    return target


def code_of(path: Path) -> str:
    with pytest.raises(ExportError) as caught:
        open_program(path)
    assert caught.value.field == str(path)
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_a_file_without_pickles_is_opened(tmp_path: Path) -> None:
    forward = open_program(saved(tmp_path / "good.pt2", examples=False))
    assert forward(torch.rand(2, 3)).shape == (2, 2)


def test_a_file_with_a_pickle_is_refused_before_it_can_run_code(tmp_path: Path) -> None:
    assert code_of(saved(tmp_path / "examples.pt2", examples=True)) == "export.pickle_in_file"
    good, fired = saved(tmp_path / "good.pt2", examples=False), tmp_path / "fired"
    bomb = pickle.dumps(Bomb(fired))
    assert code_of(changed(good, "sample_inputs/model.pt", bomb)) == "export.pickle_in_file"
    with zipfile.ZipFile(good) as archive:
        name = next(one for one in archive.namelist() if one.endswith("weights_config.json"))
        config = json.loads(archive.read(name))
    next(iter(config["config"].values()))["use_pickle"] = True
    assert code_of(changed(good, "weights_config.json", json.dumps(config).encode())) == "export.pickle_in_file"
    assert not fired.exists()
    stream = io.BytesIO(bomb)
    pickle.load(stream)
    assert fired.exists()


def test_a_damaged_file_is_a_user_error(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.pt2", examples=False)
    (tmp_path / "half.pt2").write_bytes(good.read_bytes()[:2000])
    assert code_of(tmp_path / "half.pt2") == "export.unreadable_file"
    assert code_of(changed(good, "models/model.json", b"{}")) == "export.unreadable_file"
