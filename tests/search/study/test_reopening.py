"""A run whose config.yaml was edited cannot be resumed; the error comes before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.config.loading import dump_config
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import RunError, StudyError
from nas_distill.objectives import check_objectives
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.service import resume_search
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.study.fingerprint import Fingerprint, source_digest, training_settings
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import Heard
from tests.report.factory import make_record, make_run


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = make_run(tmp_path / "run", [make_record(0, gap_points=1.0, num_params=1000)])
    config, space = read_run_config(run), load_space("tiny")
    with_fingerprint = StudyLedger(run.own_storage, "nas_distill", check_objectives(config.objectives), 0)
    with_fingerprint.set_fingerprint(
        Fingerprint(
            data_id=read_record(run.data_manifest, DataManifest).data_id,
            space="tiny",
            space_source=source_digest(space.source_path, "tiny"),
            recipe="fixed",
            recipe_source="",
            epochs=config.recipe.epochs,
            initial_weights=config.space.initial_weights,
            settings=training_settings(config),
        )
    )
    with_fingerprint.close()
    return run


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        ({"space": {"name": "resnet"}}, "study.other_fingerprint"),
        ({"recipe": {"epochs": 7}}, "study.other_fingerprint"),
        ({"space": {"initial_weights": ["random"]}}, "study.other_fingerprint"),
        ({"recipe": {"losses": {"kd": {}}}}, "study.other_fingerprint"),
        ({"recipe": {"learning_rate": 0.1}}, "study.other_fingerprint"),
        ({"views": {"seed": 7}}, "study.other_fingerprint"),
        ({"seed": 7}, "study.other_fingerprint"),
        ({"objectives": ["gap_points", "macs"]}, "study.other_objectives"),
    ],
    ids=["space", "epochs", "initial weights", "losses", "learning rate", "views", "seed", "objectives"],
)
def test_an_edited_configuration_is_an_error(run: RunDirectory, edit: dict[str, object], code: str) -> None:
    values = read_run_config(run).model_dump()
    for key, value in edit.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    run.config.write_text(dump_config(type(read_run_config(run)).model_validate(values)))
    with pytest.raises(StudyError) as caught:
        resume_search(run.path, Heard())
    assert caught.value.code == code


def test_an_edited_space_is_an_error(tmp_path: Path, run: RunDirectory) -> None:
    file = tmp_path / "mine.py"
    file.write_text(load_space("tiny").source_path.read_text() + "\n# another one\n")
    values = read_run_config(run).model_dump()
    values["space"]["name"] = str(file)
    run.config.write_text(dump_config(type(read_run_config(run)).model_validate(values)))
    with pytest.raises(StudyError) as caught:
        resume_search(run.path, Heard())
    assert caught.value.code == "study.other_fingerprint"


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_emptied_configuration_is_an_error(run: RunDirectory, content: str) -> None:
    run.config.write_text(content)
    with pytest.raises(RunError) as caught:
        resume_search(run.path, Heard())
    assert (caught.value.code, caught.value.field) == ("run.damaged_config", str(run.config))
