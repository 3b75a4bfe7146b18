"""A small search, what is known of its trials, and ways of damaging its files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from nas_distill.analysis.trials.study_reader import read_parameters, read_study
from nas_distill.config import LOCAL_DIR, SearchConfig
from nas_distill.run_directory.layout import RunDirectory
from tests.helpers import SMALL_DATA, SmallRun

TRIALS = 4


def small_config(small: SmallRun, **parts: object) -> SearchConfig:
    values: dict[str, object] = {
        "data": SMALL_DATA,
        "teacher": {"model": f"{LOCAL_DIR}{small.run.teacher}"},
        "budget": {"trials": TRIALS},
        "asha": {"rule": "none"},
        "recipe": {"epochs": 2, "batch_size": 64},
        "resources": {"max_parallel_trials": 1},
    }
    return SearchConfig.model_validate(values | parts)


def trials_of(run: RunDirectory) -> pd.DataFrame:
    """Return the table of trials, without the time at which the study was told."""
    return read_study(run).trials.drop(columns="completed_at")


def assert_same_trials(run: RunDirectory, other: RunDirectory) -> None:
    """Check that two runs have the same trials, with bit-identical metrics, and the same parameters for the sampler."""
    pd.testing.assert_frame_equal(trials_of(run), trials_of(other), check_exact=True)
    assert read_parameters(run) == read_parameters(other)
    for number in run.trial_numbers():
        assert run.trial(number).read_record() == other.trial(number).read_record()


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def zero_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


Damage = Callable[[Path], None]


def change_stored_results(run: RunDirectory, number: int) -> None:
    """Change a digit of the result of a trial in the database."""
    with sqlite3.connect(run.study_file) as database:
        change = (
            "UPDATE trial_user_attributes SET value_json = replace(value_json, '\\\"gap_points\\\":', "
            "'\\\"gap_points\\\":1') WHERE key = 'result' AND trial_id = (SELECT trial_id FROM trials WHERE number = ?)"
        )
        assert database.execute(change, (number,)).rowcount == 1
