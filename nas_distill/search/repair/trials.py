"""Check the folders of trials, and restore records from the study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from nas_distill.errors import RunError
from nas_distill.models.weights import load_weights
from nas_distill.records import TrialResult, TrialTask
from nas_distill.records.base import Record
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.search.repair.finding import Finding, set_aside
from nas_distill.search.study.rows import StoredRows
from nas_distill.train.checkpoint import load_state


def repair_trials(run: RunDirectory, rows: StoredRows) -> Iterator[Finding]:
    """Check the folders of all trials of the search.

    Args:
        run: The run directory, locked.
        rows: What can be read of the study.

    Yields:
        One finding per damaged file.
    """
    for number in sorted(run.trial_numbers() | rows.tasks.keys()):
        folder, task, result = run.trial(number), rows.tasks.get(number), rows.results.get(number)
        has_weights = result is not None and result.outcome.metrics is not None
        yield from _repair_record(folder.task, TrialTask, task)
        if result is not None or folder.result.exists():
            yield from _repair_record(folder.result, TrialResult, result)
        yield from _check_files(folder, has_weights=has_weights)


def repair_repeats(run: RunDirectory) -> Iterator[Finding]:
    """Check the folders of trainings that repeat a trial: confirmations and folds.

    Yields:
        One finding per damaged file.
    """
    for kind, verb in ((run.confirm, "confirm"), (run.folds, "--resume")):
        for path in sorted(kind.glob("*/*/task.json")):
            folder = TrialFolder(path.parent)
            for file, model in ((folder.task, TrialTask), (folder.result, TrialResult)):
                if file.exists():
                    yield from _repair_record(file, model, None, again=f"{verb} trains it again")
            yield from _check_files(folder, has_weights=False)


def _repair_record(
    path: Path, model: type[Record], stored: Record | None, again: str = "--resume trains the trial again"
) -> Iterator[Finding]:
    try:
        if read_record(path, model) == stored or stored is None:
            return
        problem = "differs from the study"
    except RunError as error:
        if error.code == "run.other_version":
            raise
        problem = str(error.args[0])
    if problem == "differs from the study":
        yield Finding(path=path, problem=problem, action="kept; the file decides", is_lost=False)
        return
    if path.exists():
        set_aside(path)
    if stored is None:
        yield Finding(path=path, problem=problem, action=f"set aside; {again}")
    else:
        write_record(path, stored)
        yield Finding(path=path, problem=problem, action="restored from the study")


def _check_files(folder: TrialFolder, *, has_weights: bool) -> Iterator[Finding]:
    """Check curve, checkpoint and weights, which a trial has at different times."""
    checks: tuple[tuple[Path, Callable[[], object], str], ...] = (
        (folder.curve, folder.read_curve, "set aside; the trial starts again unless it has ended"),
        (folder.checkpoint, lambda: load_state(folder.checkpoint), "set aside; the trial starts again"),
        (folder.weights, lambda: load_weights(folder.weights), "set aside; the scores stay, the student is lost"),
    )
    for path, check, action in checks:
        if not path.exists():
            if path == folder.weights and has_weights:
                yield Finding(path=path, problem="is missing", action="the scores stay, the student is lost")
            continue
        try:
            check()
        except RunError as error:
            set_aside(path)
            yield Finding(path=path, problem=str(error.args[0]).partition(";")[0], action=action)
