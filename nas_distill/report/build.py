"""Writes the report's files, each whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from nas_distill.analysis.front.picks import Pick
from nas_distill.records.base import FrozenFloats, Record
from nas_distill.report.content import ReportContent, load_content
from nas_distill.report.markdown import render_markdown
from nas_distill.report.page import render_page
from nas_distill.report.sections.findings import finding_sections
from nas_distill.run_directory.files import write_atomic, write_record, write_text
from nas_distill.run_directory.layout import RunDirectory


class PicksFile(Record):
    """`picks.json`: the picks, and what they were picked from.

    Attributes:
        schema_version: Of this record on disk.
        objectives: Names, in order.
        reference: Bound of the hypervolume, per objective in its own unit.
        hypervolume: Of the front; costs count in decades.
        front: Trial numbers, cheapest first.
        picks: One per rule.
    """

    schema_version: Literal[1] = 1
    objectives: tuple[str, ...]
    reference: FrozenFloats
    hypervolume: float
    front: tuple[int, ...]
    picks: tuple[Pick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """Where the report lies.

    Attributes:
        html: The page, one self-contained file.
        markdown: The same in short, as text.
        trials_csv: All ended trials; columns as in `analysis.frame.COLUMNS`.
        trials_parquet: The same, with types.
        pareto_csv: The front's rows of it.
        picks: A `PicksFile`.
    """

    html: Path
    markdown: Path
    trials_csv: Path
    trials_parquet: Path
    pareto_csv: Path
    picks: Path

    @classmethod
    def under(cls, folder: Path) -> ReportPaths:
        """Returns the paths of a report in `folder`."""
        return cls(
            html=folder / "index.html",
            markdown=folder / "report.md",
            trials_csv=folder / "trials.csv",
            trials_parquet=folder / "trials.parquet",
            pareto_csv=folder / "pareto.csv",
            picks=folder / "picks.json",
        )


def build_report(run: RunDirectory) -> ReportPaths:
    """Reads a run and writes its report; a run without one complete trial gets a report that says so.

    Raises:
        RunError: There is no run, one of its files is missing or damaged, or the report cannot be written.
        StudyError: The study is missing, unreachable or damaged.
    """
    return write_report(load_content(run), run.report)


def write_report(content: ReportContent, folder: Path) -> ReportPaths:
    """Writes a report into `folder`.

    Raises:
        RunError: The file system refused.
    """
    paths = ReportPaths.under(folder)
    _write_csv(paths.trials_csv, content.trials)
    write_atomic(paths.trials_parquet, lambda temporary: content.trials.to_parquet(temporary, index=False))
    _write_csv(paths.pareto_csv, content.front.members)
    write_record(paths.picks, _picks_file(content))
    sections = finding_sections(content)  # seconds where a run is long
    write_text(paths.markdown, render_markdown(content, sections))
    write_text(paths.html, render_page(content, sections))
    return paths


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_atomic(path, lambda temporary: frame.to_csv(temporary, index=False, lineterminator="\n"))


def _picks_file(content: ReportContent) -> PicksFile:
    front = content.front
    names = tuple(objective.name for objective in front.objectives)
    return PicksFile(
        objectives=names,
        reference=dict(zip(names, front.reference, strict=True)),
        hypervolume=front.hypervolume,
        front=front.numbers,
        picks=content.picks,
    )
