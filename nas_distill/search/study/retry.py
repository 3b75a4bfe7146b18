"""Puts failed trials back in flight, so that a resumed search trains them again."""

from __future__ import annotations

from nas_distill.config import SearchConfig
from nas_distill.records import TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.database import open_database
from nas_distill.search.study.log import RESULT
from nas_distill.search.study.memory_mirror import REPORTED
from nas_distill.search.study.rows import read_rows


def reopen_failed(run: RunDirectory, config: SearchConfig) -> list[int]:
    """Put the failed trials of a run back in flight, and return their numbers.

    They keep their numbers and candidates. Call it before the study is opened.

    Args:
        run: The run directory, locked.
        config: Configuration of the run.

    Raises:
        StudyError: The storage cannot be used.
    """
    results = read_rows(run, config).results
    numbers = sorted(number for number, one in results.items() if one.outcome.status is TrialStatus.FAILED)
    if not numbers:
        return []
    database = open_database(config.resources.storage_url or run.own_storage)
    try:
        study_id = database.get_study_id_from_name(config.resources.study_name)
        # The database first: a result on disk that the study lacks is added to it again.
        database.reopen_trials(study_id, numbers, without=(RESULT, REPORTED, "status", "epochs"))
    finally:
        database.close()
    for number in numbers:
        run.trial(number).result.unlink(missing_ok=True)
    return numbers
