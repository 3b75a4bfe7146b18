"""One small search without Ray, for a process that a test kills: prepare, propose, train, tell, report."""

from __future__ import annotations

from pathlib import Path

import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.objectives import check_objectives
from nas_distill.report import build_report
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.preparation import prepare_search
from nas_distill.search.study.files import StudyFiles
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.trial.context import WorkerConfig, open_context
from nas_distill.trial.run import run_trial
from tests.helpers import SMALL_DATA, make_task


def main(folder: Path, teacher: str, trials: int) -> None:
    """Run the search in a run directory, or continue it."""
    torch.set_num_threads(1)
    run = RunDirectory(folder)
    values = {
        "data": SMALL_DATA,
        "teacher": {"model": f"{LOCAL_DIR}{teacher}"},
        "recipe": {"epochs": 2, "batch_size": 64},
        "views": {"count": 2},
    }
    config = SearchConfig.model_validate(values).with_space_name()
    with run.locked():
        if not run.config.exists():
            write_text(run.config, dump_config(config))
        prepared = prepare_search(run, config, NullProgress(), on_cluster=False)
        ledger = StudyLedger(
            run.own_storage, config.resources.study_name, check_objectives(config.objectives), 0, files=StudyFiles(run)
        )
        ledger.set_teacher(prepared.teacher)
        context = open_context(
            WorkerConfig(
                run=str(run.path), data=config.data, knowledge=dict(prepared.knowledge), threads=1, cuda=False,
                checkpoint_interval_s=0.0,
            )
        )  # fmt: skip
        for task in ledger.unfinished():
            ledger.tell(run_trial(task, context, run.trial(task.number)))
        while len(ledger.assigned()) < trials:
            trial = ledger.ask()
            trial.suggest_int("width", 4, 8)
            task = make_task(trial.number, recipe=config.recipe, seed=trial.number)
            ledger.assign(trial, task, {})
            ledger.tell(run_trial(task, context, run.trial(task.number)))
        ledger.close()
    build_report(run)
