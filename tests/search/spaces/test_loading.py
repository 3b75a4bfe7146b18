from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import optuna
import pytest

from nas_distill.errors import SpaceError
from nas_distill.models.cost import measure_cost
from nas_distill.models.student import build_student
from nas_distill.records import StudentSpec
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import Space, list_spaces, load_space, propose

GOOD = '''
"""Module text."""
from nas_distill.records import StudentSpec

def space(trial):
    """Widths of a resnet.

    More text.
    """
    return StudentSpec(architecture="resnet18", arguments={"width": trial.suggest_int("width", 8, 64)})

def other(trial):
    return StudentSpec(architecture="other")
'''


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def a_trial(value: int = 8) -> optuna.trial.Trial:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=value))
    return study.ask()


def complaint(name: object) -> str:
    with pytest.raises(SpaceError) as caught:
        load_space(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def complaint_of_proposal(space: Space) -> str:
    with pytest.raises(SpaceError) as caught:
        propose(space, a_trial())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shipped_spaces_are_listed_and_propose_candidates() -> None:
    names = list_spaces()
    assert {"tiny", "resnet"} <= set(names)
    for name in names:
        space = load_space(name)
        assert space.doc, f"{name} has no docstring"
        assert space.source_path.name == f"{name}.py"
        specs = sample_space(space, 20, seed=0)
        assert len({spec.spec_id for spec in specs}) > 1, f"{name} proposes one candidate only"


def test_a_file_is_a_space(tmp_path: Path) -> None:
    space = load_space(str(write(tmp_path, GOOD)))
    spec = propose(space, a_trial())
    assert isinstance(spec, StudentSpec)
    assert spec.architecture == "resnet18"
    assert space.doc.startswith("Widths of a resnet.")
    assert space.source_path == (tmp_path / "mine.py").resolve()


def test_a_function_of_a_file_is_a_space(tmp_path: Path) -> None:
    space = load_space(f"{write(tmp_path, GOOD)}:other")
    assert propose(space, a_trial()).architecture == "other"
    assert space.doc == "Module text."


def test_a_relative_path_is_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert propose(load_space("mine.py"), a_trial()).architecture == "resnet18"


def test_files_of_one_name_never_meet_and_edits_are_seen(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD.replace("resnet18", "a"))
    (tmp_path / "sub").mkdir()
    second = write(tmp_path / "sub", GOOD.replace("resnet18", "b"))
    assert propose(load_space(str(first)), a_trial()).architecture == "a"
    assert propose(load_space(str(second)), a_trial()).architecture == "b"
    write(tmp_path, GOOD.replace("resnet18", "c"))
    assert propose(load_space(str(first)), a_trial()).architecture == "c"


def test_a_file_may_define_dataclasses(tmp_path: Path) -> None:
    text = GOOD + "\nimport dataclasses\n@dataclasses.dataclass\nclass Width:\n    value: 'int' = 3\n"
    assert propose(load_space(str(write(tmp_path, text))), a_trial()).architecture == "resnet18"


def test_unknown_names_get_the_nearest() -> None:
    assert "did you mean 'resnet'?" in complaint("resnt")
    assert "FILE.py[:function]" in complaint("folder/space")


def test_a_missing_file_or_function_is_named(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in complaint(tmp_path / "none.py")
    assert "has no function 'spac'; did you mean 'space'? known: other, space" in complaint(
        f"{write(tmp_path, GOOD)}:spac"
    )
    assert "has no function 'space'" in complaint(write(tmp_path, "space = 3\n", "three.py"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ndef space(trial:\n", ":2: does not import: SyntaxError"),
        (
            "x = 1\nimport no_such_module_at_all\n",
            ":2: does not import: ModuleNotFoundError: No module named",
        ),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", ":2: does not import: ValueError: a b"),
        ("import sys\nsys.exit(3)\n", ":2: does not import: SystemExit: 3"),
        (
            "def space():\n    pass\n",
            "'space()' cannot be called with a trial alone; write `def space(trial)`",
        ),
        ("def space(a, b):\n    pass\n", "'space(a, b)' cannot be called with a trial alone"),
        ("def space(*, trial):\n    pass\n", "'space(*, trial)' cannot be called with a trial alone"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    before = set(sys.modules)
    message = complaint(path)
    assert message.startswith(str(path))
    assert expected in message
    broken = [name for name in set(sys.modules) - before if name.startswith("nas_distill_space_")]
    assert not [name for name in broken if "does not import" in message]


def test_a_space_that_raises_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "def space(trial):\n    width = trial.suggest_int('w', 9, 3)\n")
    message = complaint_of_proposal(load_space(str(path)))
    assert message.startswith(f"{path}:2: space '{path}' raised ValueError:")


def test_a_space_with_an_invalid_candidate_is_named_with_its_line(tmp_path: Path) -> None:
    text = """\
        from nas_distill.records import StudentSpec
        def space(trial):
            return StudentSpec(architecture="")
    """
    message = complaint_of_proposal(load_space(str(write(tmp_path, text))))
    assert "mine.py:3: space" in message
    assert "architecture" in message


def test_a_space_that_returns_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "def space(trial):\n    return {'architecture': 'resnet18'}\n")
    assert "returned {'architecture': 'resnet18'} (dict); return a nas_distill.records.StudentSpec" in (
        complaint_of_proposal(load_space(str(path)))
    )


def test_samples_repeat_with_the_seed_and_leave_optunas_log_alone(tmp_path: Path) -> None:
    space = load_space(str(write(tmp_path, GOOD)))
    verbosity = optuna.logging.get_verbosity()
    assert sample_space(space, 5, seed=3) == sample_space(space, 5, seed=3)
    assert sample_space(space, 5, seed=3) != sample_space(space, 5, seed=4)
    assert optuna.logging.get_verbosity() == verbosity


@pytest.mark.parametrize(("name", "channels", "image_size"), [("tiny", 1, 8), ("tiny", 1, 32), ("resnet", 3, 32)])
def test_every_candidate_of_a_shipped_space_can_be_built(name: str, channels: int, image_size: int) -> None:
    for spec in sample_space(load_space(name), 25, seed=0):
        cost = measure_cost(spec, num_classes=10, channels=channels, image_size=image_size)
        assert cost.macs > 0


def test_tiny_spans_what_it_says() -> None:
    sizes = [
        sum(weight.numel() for weight in build_student(spec, num_classes=10, channels=1, image_size=8).parameters())
        for spec in sample_space(load_space("tiny"), 150, seed=0)
    ]
    assert min(sizes) < 1_500
    assert 100_000 < max(sizes) < 250_000
