"""Opening the study of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nas_distill.config import ResourcesConfig, SamplerConfig
from nas_distill.objectives import check_objectives
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.ledger import StudyLedger


@contextmanager
def opened_ledger(
    run: RunDirectory, resources: ResourcesConfig, objectives: Sequence[str], *, seed: int, sampler: SamplerConfig
) -> Iterator[StudyLedger]:
    """Open the study of a run, and close it at the end.

    Open it before anything expensive is computed, so that an unusable storage is reported at once.

    Args:
        run: The run directory, which holds the study if `resources` names no storage.
        resources: Storage and name of the study.
        objectives: Names of the objectives.
        seed: Seed of the sampler.
        sampler: Sampler, and the values that are reported for stopped trials.

    Raises:
        ConfigError: The objectives are invalid, or the sampler cannot be created.
        RunError: Another version of nas_distill wrote the study.
        StudyError: The storage cannot be used, or the study has other objectives.
    """
    url = resources.storage or run.own_storage
    ledger = StudyLedger(url, resources.study_name, check_objectives(objectives), seed, sampler)
    try:
        yield ledger
    finally:
        ledger.close()
