"""Opening the study of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nas_distill.config import ResourcesConfig, SamplerConfig
from nas_distill.objectives import check_objectives
from nas_distill.run_directory.files import reading
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import incomplete_study
from nas_distill.search.study.files import StudyFiles
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
        StudyError: The storage cannot be used, the study has other objectives, or it lacks trials of the run.
    """
    url, stored = resources.storage_url or run.own_storage, run.trial_numbers()
    if stored and resources.storage is None and not _has_content(run.study_file):
        raise incomplete_study(run, stored, str(run.study_file))
    ledger = StudyLedger(url, resources.study_name, check_objectives(objectives), seed, sampler, files=StudyFiles(run))
    try:
        missing = stored - ledger.numbers()
        if missing:
            ledger.withdraw()
            raise incomplete_study(run, missing, f"study '{resources.study_name}'")
        yield ledger
    finally:
        ledger.close()


def _has_content(path: Path) -> bool:
    with reading(path):
        return path.exists() and path.stat().st_size > 0
