"""nas_distill: finds the student.

Given a fixed teacher network and a data set, searches timm-defined architectures; every candidate is distilled
from that teacher, and a Pareto analyzer picks the students that balance size against the capacity gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nas_distill.analysis.run import Run

__all__ = ["Run", "__version__", "load_run"]

__version__ = "0.1.0"


def load_run(path: str | Path) -> Run:
    """Returns a run for looking at: its trials, front, picks, verdicts and capacity law, from records alone.

    Args:
        path: The run directory of a search, finished or not.

    Raises:
        RunError: There is no run, or its configuration cannot be read.
    """
    from nas_distill.analysis.run import Run  # pandas: `--help` must answer at once

    return Run(path)


def __getattr__(name: str) -> object:
    """Import `Run` on first use: it needs pandas."""
    if name == "Run":
        from nas_distill.analysis.run import Run

        return Run
    raise AttributeError(f"module 'nas_distill' has no attribute '{name}'")
