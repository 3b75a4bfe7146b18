from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import optuna
import pytest
import timm

from nas_distill.config import SearchConfig, SpaceConfig
from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.student import build_student
from nas_distill.records import StudentSpec
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import Space, list_spaces, load_space, propose
from nas_distill.user_code import import_modules
from tests.helpers import make_space_context

CONTEXT = make_space_context()

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


def loading_error(name: object) -> SpaceError:
    with pytest.raises(SpaceError) as caught:
        load_space(str(name))
    assert caught.value.field == "space.name"
    assert "\n" not in str(caught.value)
    return caught.value


def proposal_error(space: Space) -> SpaceError:
    with pytest.raises(SpaceError) as caught:
        propose(space, a_trial(), CONTEXT)
    assert caught.value.field == "space.name"
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_shipped_spaces_are_listed_and_propose_candidates() -> None:
    names = list_spaces()
    assert {"tiny", "resnet"} <= set(names)
    for name in names:
        space = load_space(name)
        assert space.doc, name
        assert space.source_path.name == f"{name}.py"
        assert space.info is not None, name
        context = make_space_context(image_size=space.info.max_image_size)
        specs = sample_space(space, 20, seed=0, context=context)
        assert len({spec.spec_id for spec in specs}) > 1, name


def test_a_file_is_a_space(tmp_path: Path) -> None:
    space = load_space(str(write(tmp_path, GOOD)))
    spec = propose(space, a_trial(), CONTEXT)
    assert isinstance(spec, StudentSpec)
    assert spec.architecture == "resnet18"
    assert space.doc.startswith("Widths of a resnet.")
    assert space.source_path == (tmp_path / "mine.py").resolve()


def test_a_function_of_a_file_is_a_space(tmp_path: Path) -> None:
    space = load_space(f"{write(tmp_path, GOOD)}:other")
    assert propose(space, a_trial(), CONTEXT).architecture == "other"
    assert space.doc == "Module text."


def test_a_relative_path_is_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert propose(load_space("mine.py"), a_trial(), CONTEXT).architecture == "resnet18"


def test_files_of_the_same_name_stay_apart_and_edits_take_effect(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD.replace("resnet18", "a"))
    (tmp_path / "sub").mkdir()
    second = write(tmp_path / "sub", GOOD.replace("resnet18", "b"))
    assert propose(load_space(str(first)), a_trial(), CONTEXT).architecture == "a"
    assert propose(load_space(str(second)), a_trial(), CONTEXT).architecture == "b"
    write(tmp_path, GOOD.replace("resnet18", "c"))
    assert propose(load_space(str(first)), a_trial(), CONTEXT).architecture == "c"


def test_a_file_may_define_dataclasses(tmp_path: Path) -> None:
    text = GOOD + "\nimport dataclasses\n@dataclasses.dataclass\nclass Width:\n    value: 'int' = 3\n"
    assert propose(load_space(str(write(tmp_path, text))), a_trial(), CONTEXT).architecture == "resnet18"


def test_a_users_space_is_imported_for_its_side_effects(tmp_path: Path) -> None:
    path = write(
        tmp_path, "import timm\n\n@timm.models.register_model\ndef net_of_this_test(**kwargs):\n    return None\n"
    )
    assert not timm.is_model("net_of_this_test")
    import_modules(SearchConfig(space=SpaceConfig(name=f"{path}:space")).user_modules)
    assert timm.is_model("net_of_this_test")


def test_an_unknown_space_is_rejected() -> None:
    for name in ("resnt", "folder/space", "recipes"):
        assert loading_error(name).code == "space.unknown"
    assert "'resnet'" in str(loading_error("resnt"))


def test_a_missing_file_or_function_is_rejected(tmp_path: Path) -> None:
    assert loading_error(tmp_path / "none.py").code == "search.file_unreadable"
    misspelt = loading_error(f"{write(tmp_path, GOOD)}:spac")
    assert misspelt.code == "space.no_function"
    assert "'space'" in str(misspelt)
    assert loading_error(write(tmp_path, "space = 3\n", "three.py")).code == "space.no_function"


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("x = 1\ndef space(trial:\n", "search.import_failed", ":2"),
        ("x = 1\nimport no_such_module_at_all\n", "search.import_failed", ":2"),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", "search.import_failed", ":2"),
        ("import sys\nsys.exit(3)\n", "search.import_failed", ":2"),
        ("def space():\n    pass\n", "space.signature", ""),
        ("def space(a, b, c):\n    pass\n", "space.signature", ""),
        ("def space(*, trial):\n    pass\n", "space.signature", ""),
    ],
)
def test_a_file_that_cannot_be_used_is_rejected_with_its_line(tmp_path: Path, text: str, code: str, line: str) -> None:
    path = write(tmp_path, text)
    before = set(sys.modules)
    error = loading_error(path)
    assert error.code == code
    assert f"{path}{line}:" in str(error)
    imported = [name for name in set(sys.modules) - before if name.startswith("nas_distill_user_")]
    assert len(imported) == (code != "search.import_failed")


def test_a_space_that_raises_is_reported_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "def space(trial):\n    width = trial.suggest_int('w', 9, 3)\n")
    error = proposal_error(load_space(str(path)))
    assert error.code == "space.raised"
    assert f"{path}:2:" in str(error)


def test_a_space_with_an_invalid_candidate_is_reported_with_its_line(tmp_path: Path) -> None:
    text = """\
        from nas_distill.records import StudentSpec
        def space(trial):
            return StudentSpec(architecture="")
    """
    error = proposal_error(load_space(str(write(tmp_path, text))))
    assert error.code == "space.raised"
    assert "mine.py:3:" in str(error)
    assert "architecture" in str(error)


def test_a_space_that_does_not_return_a_spec_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, "def space(trial):\n    return {'architecture': 'resnet18'}\n")
    assert proposal_error(load_space(str(path))).code == "space.wrong_type"


def test_samples_repeat_with_the_seed_and_keep_optunas_log_level(tmp_path: Path) -> None:
    space = load_space(str(write(tmp_path, GOOD)))
    verbosity = optuna.logging.get_verbosity()
    assert sample_space(space, 5, seed=3, context=CONTEXT) == sample_space(space, 5, seed=3, context=CONTEXT)
    assert sample_space(space, 5, seed=3, context=CONTEXT) != sample_space(space, 5, seed=4, context=CONTEXT)
    assert optuna.logging.get_verbosity() == verbosity


@pytest.mark.parametrize(("name", "channels", "image_size"), [("tiny", 1, 8), ("tiny", 1, 32), ("resnet", 3, 32)])
def test_every_candidate_of_a_shipped_space_can_be_built(name: str, channels: int, image_size: int) -> None:
    context = make_space_context(channels=channels, image_size=image_size)
    for spec in sample_space(load_space(name), 12, seed=0, context=context):
        cost = measure_cost(spec, num_classes=10, channels=channels, image_size=image_size)
        assert cost.macs > 0


def test_the_space_tiny_spans_the_sizes_in_its_docstring() -> None:
    sizes = [
        sum(weight.numel() for weight in build_student(spec, num_classes=10, channels=1, image_size=8).parameters())
        for spec in sample_space(load_space("tiny"), 150, seed=0, context=CONTEXT)
    ]
    assert min(sizes) < 1_500
    assert 100_000 < max(sizes) < 250_000


def test_a_space_receives_the_context_if_it_asks_for_it(tmp_path: Path) -> None:
    body = "    return StudentSpec(architecture='a', arguments={{'width': {value}}})\n"
    head = "from nas_distill.records import StudentSpec\n"
    forms = {
        "def space(trial, context):\n": "context.image_size",
        "def space(trial, search):\n": "search.image_size",
        "def space(trial, context=None):\n": "context.image_size",
        "def space(trial, width=8):\n": "width",
        "def space(trial, *, width=8):\n": "width",
    }
    for number, (signature, value) in enumerate(forms.items()):
        path = write(tmp_path, head + signature + body.format(value=value), f"space_{number}.py")
        context = make_space_context(image_size=48)
        width = propose(load_space(str(path)), a_trial(), context).arguments["width"]
        assert width == (8 if value == "width" else 48), signature


def test_a_space_says_that_it_does_not_suit_a_search(tmp_path: Path) -> None:
    text = (
        "from nas_distill.records import SpaceMisfitError\ndef space(trial):\n    raise SpaceMisfitError('no\\n way')\n"
    )
    error = proposal_error(load_space(str(write(tmp_path, text))))
    assert error.code == "space.misfit"


def test_a_file_may_declare_what_its_space_holds(tmp_path: Path) -> None:
    info = "SpaceInfo(families=('a',), min_image_size=8, max_image_size=9, min_params=1, max_params=2)"
    text = "from nas_distill.records import SpaceInfo\nINFO = {}\n" + GOOD.replace("{", "{{").replace("}", "}}")
    space = load_space(str(write(tmp_path, text.format(info))))
    assert space.info is not None
    assert space.info.families == ("a",)
    assert load_space(str(write(tmp_path, GOOD))).info is None
    assert loading_error(write(tmp_path, text.format("{'families': 'a'}"))).code == "space.wrong_info"
