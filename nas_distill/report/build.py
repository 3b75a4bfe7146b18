"""Build the report of a run and write its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from nas_distill.analysis.decision.records import Headline, StudentVerdict
from nas_distill.analysis.front.picks import Pick
from nas_distill.analysis.trials.cells import csv_text
from nas_distill.records.base import FrozenFloats, Record
from nas_distill.report.content import ReportContent, load_content
from nas_distill.report.markdown import render_markdown
from nas_distill.report.page import render_page
from nas_distill.report.sections.findings import finding_sections
from nas_distill.run_directory.files import write_atomic, write_text
from nas_distill.run_directory.layout import RunDirectory


class PicksFile(Record):
    """The content of `picks.json`: the decision and the front.

    Attributes:
        schema_version: Version of the file format.
        objectives: Names of the objectives, in order.
        reference: Reference point of the hypervolume, by objective, in its own unit.
        hypervolume: Hypervolume of the front; costs are measured in decades.
        front: Trial numbers of the front, cheapest first.
        gap_tolerance_points: Largest acceptable gap to the teacher, percentage points.
        images: Number of validation images.
        headline: The student to take.
        picks: One pick per rule.
        verdicts: Verdict and remedy of each student of the front, cheapest first.
    """

    schema_version: Literal[2] = 2
    objectives: tuple[str, ...]
    reference: FrozenFloats
    hypervolume: float
    front: tuple[int, ...]
    gap_tolerance_points: float
    images: int
    headline: Headline
    picks: tuple[Pick, ...]
    verdicts: tuple[StudentVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """The files of a report.

    Attributes:
        html: The page, one self-contained file.
        markdown: A shorter report as Markdown.
        trials_csv: All finished trials, with the columns of `analysis.trials.columns.COLUMNS`.
        trials_parquet: The same table with column types.
        pareto_csv: The rows of the Pareto front.
        picks: The picks as a `PicksFile`.
    """

    html: Path
    markdown: Path
    trials_csv: Path
    trials_parquet: Path
    pareto_csv: Path
    picks: Path

    @classmethod
    def under(cls, folder: Path) -> ReportPaths:
        """Return the paths of a report in a folder."""
        return cls(
            html=folder / "index.html",
            markdown=folder / "report.md",
            trials_csv=folder / "trials.csv",
            trials_parquet=folder / "trials.parquet",
            pareto_csv=folder / "pareto.csv",
            picks=folder / "picks.json",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A written report.

    Attributes:
        content: The values that it shows.
        paths: Its files.
    """

    content: ReportContent
    paths: ReportPaths


def build_report(run: RunDirectory) -> Report:
    """Read a run and write its report, also when no trial is complete.

    Raises:
        RunError: There is no run, one of its files is missing or damaged, or the report cannot be written.
        StudyError: The study is missing, unreachable or damaged.
    """
    content = load_content(run.existing())
    return Report(content=content, paths=write_report(content, run.report))


def write_report(content: ReportContent, folder: Path) -> ReportPaths:
    """Write the files of a report into a folder. Each file is replaced atomically.

    Raises:
        RunError: A file cannot be written.
    """
    paths = ReportPaths.under(folder)
    _write_csv(paths.trials_csv, content.trials)
    write_atomic(paths.trials_parquet, lambda temporary: content.trials.to_parquet(temporary, index=False))
    _write_csv(paths.pareto_csv, content.front.members)
    write_text(paths.picks, _picks_file(content).model_dump_json(indent=1) + "\n")
    sections = finding_sections(content)  # takes seconds for a long run, so compute it once
    write_text(paths.markdown, render_markdown(content, sections))
    write_text(paths.html, render_page(content, sections))
    return paths


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_text(path, csv_text(frame))


def _picks_file(content: ReportContent) -> PicksFile:
    front, decision = content.front, content.decision
    found = {one.number: one for one in decision.verdicts}
    names = tuple(objective.name for objective in front.objectives)
    return PicksFile(
        objectives=names,
        reference=dict(zip(names, front.reference, strict=True)),
        hypervolume=front.hypervolume,
        front=front.numbers,
        gap_tolerance_points=decision.gap_tolerance_points,
        images=decision.images,
        headline=decision.headline,
        picks=decision.picks,
        verdicts=tuple(found[number] for number in front.numbers),
    )
