"""Opening a run's study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nas_distill.config import SearchConfig
from nas_distill.objectives import check_objectives
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.ledger import StudyLedger


@contextmanager
def opened_ledger(run: RunDirectory, config: SearchConfig) -> Iterator[StudyLedger]:
    """Opens the study before anything is computed, so that a storage that cannot be used is known at once."""
    storage = config.resources.storage or run.own_storage
    objectives = check_objectives(config.objectives)
    ledger = StudyLedger(storage, config.resources.study_name, objectives, config.seed, config.sampler)
    try:
        yield ledger
    finally:
        ledger.close()
