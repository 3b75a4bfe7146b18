"""The report of a run: one page, one text, tables and picks. Values first (`content`), drawings second."""

from nas_distill.report.build import ReportPaths, build_report, write_report
from nas_distill.report.chain import CHAIN_COLUMNS, ChainSection, chain_section
from nas_distill.report.columns import front_table
from nas_distill.report.content import ReportContent, load_content
from nas_distill.report.facts import headline
from nas_distill.report.folds import FOLD_COLUMNS, FoldSection, fold_section

__all__ = [
    "CHAIN_COLUMNS",
    "FOLD_COLUMNS",
    "ChainSection",
    "FoldSection",
    "ReportContent",
    "ReportPaths",
    "build_report",
    "chain_section",
    "fold_section",
    "front_table",
    "headline",
    "load_content",
    "write_report",
]
