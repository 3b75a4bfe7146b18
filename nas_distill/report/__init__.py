"""The report of a run: one page, one text, tables and picks. Values first (`content`), drawings second."""

from nas_distill.report.build import ReportPaths, build_report, write_report
from nas_distill.report.content import ReportContent, load_content
from nas_distill.report.sections.facts import headline
from nas_distill.report.tables import front_table

__all__ = [
    "ReportContent",
    "ReportPaths",
    "build_report",
    "front_table",
    "headline",
    "load_content",
    "write_report",
]
