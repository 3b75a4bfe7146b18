"""Repair a run directory: `nas_distill repair RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas_distill.config import SearchConfig
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.repair.finding import Finding
from nas_distill.search.repair.inputs import repair_data, repair_knowledge, repair_teacher
from nas_distill.search.repair.trials import repair_repeats, repair_trials
from nas_distill.search.study.rebuild import Rebuilt, rebuild_study
from nas_distill.search.study.rows import StoredRows, read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What `repair_run` found and did.

    Attributes:
        findings: Damaged and missing files.
        study: The study that was built again; None if it was intact.
    """

    findings: tuple[Finding, ...]
    study: Rebuilt | None

    @property
    def lost(self) -> tuple[Finding, ...]:
        """Files that nothing can restore, without which the run cannot be resumed."""
        return tuple(finding for finding in self.findings if finding.is_lost)


def repair_run(folder: Path) -> Repair:
    """Check every file of a run that decides a result, and restore what can be restored.

    Records are restored from the study and the study from records. Whatever follows from the images, the teacher and
    the configuration is set aside, and `--resume` makes it again. Nothing is trained.

    Args:
        folder: The run directory. No search may be running in it.

    Raises:
        RunError: There is no run, its configuration is damaged, it is in use, or a file cannot be written.
        StudyError: The run's shared database cannot be used.
    """
    run = RunDirectory(folder.resolve()).existing()
    with run.locked():
        config = read_run_config(run)
        rows = read_rows(run, config)
        findings = (
            *repair_data(run),
            *repair_teacher(run, rows.teacher),
            *repair_knowledge(run),
            *repair_trials(run, rows),
            *repair_repeats(run),
        )
        problem = _study_problem(run, rows)
        if problem is None:
            return Repair(findings=findings, study=None)
        return _with_study(run, config, findings, problem)


def _with_study(run: RunDirectory, config: SearchConfig, findings: tuple[Finding, ...], problem: str) -> Repair:
    rebuilt = rebuild_study(run, config)
    action = (
        f"built again from trials/: {rebuilt.ended} ended, {rebuilt.unfinished} unfinished, {rebuilt.rejected} rejected"
    )
    study = Finding(path=run.study_file, problem=problem, action=action)
    return Repair(findings=(*findings, study), study=rebuilt)


def _study_problem(run: RunDirectory, rows: StoredRows) -> str | None:
    if rows.problem is not None:
        return rows.problem if run.trial_numbers() else None
    missing = run.trial_numbers() - rows.numbers
    if missing:
        return f"lacks {len(missing)} of {len(run.trial_numbers())} trials"
    return f"holds {len(rows.damaged)} damaged records" if rows.damaged else None
