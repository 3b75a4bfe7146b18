"""`nas_distill.search` and `resume` from Python, with callbacks: real Ray, real Optuna, tiny trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nas_distill
from nas_distill import Callback, EpochEnded, FrontChanged, SearchEnded, SearchStarted
from nas_distill.config import LOCAL_DIR
from nas_distill.errors import ConfigError, NasDistillError, RunError
from nas_distill.losses.registry import LOSSES
from nas_distill.records import TrialRecord
from tests.helpers import SMALL_DATA, SmallRun

pytestmark = pytest.mark.usefixtures("shared_cluster")


class Recorder(Callback):
    """Records all calls in order, and fails at the end of each trial."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.trials: list[TrialRecord] = []
        self.fronts: list[FrontChanged] = []
        self.starts: list[SearchStarted] = []
        self.ends: list[SearchEnded] = []

    def on_search_start(self, event: SearchStarted) -> None:
        self.starts.append(event)

    def on_epoch_end(self, event: EpochEnded) -> None:
        assert event.epochs == 2
        self.epochs.append((event.number, event.metrics.epoch))

    def on_trial_end(self, record: TrialRecord) -> None:
        self.trials.append(record)
        raise RuntimeError("a bug in a callback")

    def on_front_change(self, event: FrontChanged) -> None:
        self.fronts.append(event)

    def on_search_end(self, event: SearchEnded) -> None:
        self.ends.append(event)


def sections(small: SmallRun) -> dict[str, Any]:
    return {
        "data": SMALL_DATA.model_dump(),
        "teacher": {"model": f"{LOCAL_DIR}{small.run.teacher}"},
        "asha": {"rule": "none"},
        "recipe": {"epochs": 2, "batch_size": 64},
        "resources": {"max_parallel_trials": 1},
    }


def test_a_search_and_its_extension_call_back_with_records(small_run: SmallRun, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.warns(RuntimeWarning) as warned:
        run = nas_distill.search(sections(small_run), budget={"trials": 2}, out=tmp_path / "run", callbacks=[recorder])
    assert len([one for one in warned if "on_trial_end" in str(one.message)]) == 1
    assert isinstance(run, nas_distill.Run)
    assert sorted(run.trials["number"]) == sorted(record.number for record in recorder.trials)
    assert sorted(recorder.epochs) == [(number, epoch) for number in sorted(run.trials["number"]) for epoch in (1, 2)]
    assert set(recorder.fronts[-1].numbers) == set(run.front().numbers)
    assert recorder.starts == [SearchStarted(run=tmp_path / "run", objectives=("gap_points", "num_params"))]
    assert recorder.ends == [SearchEnded(run=tmp_path / "run", new_trials=2, interrupted=False)]

    extended = Recorder()
    with pytest.warns(RuntimeWarning):
        run = nas_distill.resume(run, budget={"trials": 3}, callbacks=[extended])
    assert len(run.trials) == 3
    assert [record.number for record in extended.trials] == [max(run.trials["number"])]
    if extended.fronts:
        assert set(extended.fronts[-1].numbers) == set(run.front().numbers)
    assert extended.ends[0].new_trials == 1


def test_an_error_reaches_the_caller_and_the_callbacks(small_run: SmallRun, tmp_path: Path) -> None:
    recorder = Recorder()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(RunError) as caught:
        nas_distill.search(sections(small_run), out=tmp_path, callbacks=[recorder])
    assert recorder.ends[0].error is caught.value


def test_wrong_arguments_are_configuration_errors(tmp_path: Path, small_run: SmallRun) -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"budget": {"trails": 2}}, "config.unknown_key", "budget.trails"),
        ({"budgets": {}}, "config.unknown_key", "budgets"),
        ({"config": tmp_path / "none.yaml"}, "config.unreadable", str(tmp_path / "none.yaml")),
        ({"seed": "one"}, "config.invalid_value", "seed"),
    ]
    for arguments, code, field in cases:
        with pytest.raises(ConfigError) as caught:
            nas_distill.search(**arguments)
        assert (caught.value.code, caught.value.field) == (code, field)


LOSS = """
import torch

import nas_distill
from nas_distill.losses.registry import Need


def squared_error(student, teacher):
    return torch.nn.functional.mse_loss(student, teacher)


nas_distill.register_loss(
    "{name}", squared_error, weight=0.01, needs=[Need.LOGITS], equation="mean squared error", paper="none"
)
"""

RECIPE = """
def recipe(trial, base, choices):
    assert "{name}" in choices.losses
    return base.model_copy(update={{"losses": {{"{name}": {{"weight": trial.suggest_float("w", 0.01, 0.02)}}}}}})
"""


@pytest.mark.timeout(400)
def test_losses_of_plugins_and_recipe_files_are_known_to_workers(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests of this process must not find the losses that this one registers.
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._entries))
    plugin, recipe = tmp_path / "my_losses.py", tmp_path / "my_recipe.py"
    plugin.write_text(LOSS.format(name="plugin_mse"), encoding="utf-8")
    recipe.write_text(LOSS.format(name="recipe_mse") + RECIPE.format(name="recipe_mse"), encoding="utf-8")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("plugin_mse", {"plugins": [str(plugin)], "recipe": {"epochs": 2, "losses": {"plugin_mse": {}}}}),
        ("recipe_mse", {"space": {"recipe": str(recipe)}}),
    ]
    for loss, own in cases:
        run = nas_distill.search(sections(small_run), budget={"trials": 1}, out=tmp_path / loss, **own)
        assert run.trials["status"].tolist() == ["complete"], run.trials["error"].tolist()
        assert loss in run._directory.trial(0).read_curve()[0].loss_parts


def test_an_error_names_a_plugin_that_cannot_be_imported(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n", encoding="utf-8")
    for name, code in (
        ("no_such_module", "search.import_failed"),
        (str(broken), "search.import_failed"),
        (str(tmp_path / "none.py"), "search.file_unreadable"),
    ):
        with pytest.raises(NasDistillError) as caught:
            nas_distill.search(plugins=[name])
        assert (caught.value.code, caught.value.field) == (code, "plugins")
