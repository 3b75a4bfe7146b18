"""The report of a run: an HTML page, a Markdown text, tables and picks.

`content` collects the values, `sections` and `tables` put them into words, `page` and `markdown` render them.
"""

from nas_distill.report.build import Report, ReportPaths, build_report, write_report
from nas_distill.report.content import ReportContent, load_content
from nas_distill.report.sections.facts import pick_text
from nas_distill.report.tables import front_table

__all__ = [
    "Report",
    "ReportContent",
    "ReportPaths",
    "build_report",
    "front_table",
    "load_content",
    "pick_text",
    "write_report",
]
