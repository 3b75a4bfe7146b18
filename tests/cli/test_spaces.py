from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.cli import main
from nas_distill.errors import SpaceError
from nas_distill.search.spaces.loading import list_spaces, load_space
from tests.cli.shell import error_of
from tests.data.files import write_class_folders

HALF_UNBUILDABLE = """
from nas_distill.records import StudentSpec

def space(trial):
    name = trial.suggest_categorical("name", ["resnet18", "no_such_architecture"])
    return StudentSpec(architecture=name)
"""


def test_spaces_are_listed_with_their_sizes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["spaces", "list"]) == 0
    listed = capsys.readouterr().out
    assert main(["spaces"]) == 0
    assert capsys.readouterr().out == listed
    header, *rows = listed.splitlines()
    assert header.split() == ["space", "pixels", "parameters", "candidates"]
    assert [row.split()[0] for row in rows] == list(list_spaces())
    for row in rows:
        name, pixels, _, summary = row.split(maxsplit=3)
        space = load_space(name)
        assert space.info is not None
        assert pixels == f"{space.info.min_image_size}-{space.info.max_image_size}"
        assert summary.strip() == space.doc.splitlines()[0]


def test_show_prints_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces", "show", "tiny"]) == 0
    source = load_space("tiny").source_path
    assert capsys.readouterr().out == f"# {source}\n{source.read_text(encoding='utf-8')}"


def test_sample_prints_candidates_with_their_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["spaces", "sample", "tiny", "-n", "3", "--image-size", "8", "--channels", "1"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert first.splitlines()[0].split() == ["candidate", "parameters", "MACs"]
    rows = first.splitlines()[1:]
    assert len(rows) == 3
    for row in rows:
        parameters, macs = row.split()[-2:]
        assert int(parameters.replace(",", "")) > 0
        assert int(macs.replace(",", "")) > 0
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    assert main([*arguments, "--seed", "1"]) == 0
    assert capsys.readouterr().out != first


def test_unusable_candidates_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "half.py"
    path.write_text(HALF_UNBUILDABLE, encoding="utf-8")
    assert main(["spaces", "sample", str(path), "-n", "8"]) == 0
    captured = capsys.readouterr()
    rejected = captured.out.count("cannot be used:")
    assert 0 < rejected < 8
    assert captured.out.count("11,181,642") == 8 - rejected
    assert captured.err.startswith(f"{rejected} of 8 ")


def test_an_unknown_space_is_an_error_with_the_nearest_name() -> None:
    error = error_of("spaces", "sample", "tinny")
    assert isinstance(error, SpaceError)
    assert "'tiny'" in str(error)


def test_candidates_are_sampled_for_given_images_and_a_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    write_class_folders(tmp_path, {"cat": 2, "dog": 2})
    images = ("--data", f"folder:{tmp_path}", "--image-size", "32", "--teacher", "convnext_atto")
    assert main(["spaces", "sample", "teacher", "-n", "2", *images]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("convnext_atto(") == 2
    assert captured.err.startswith("teacher: convnext_atto ")
