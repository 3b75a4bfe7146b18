"""What `repair` found and did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A damaged or missing file.

    Attributes:
        path: The file.
        problem: What is wrong with it.
        action: What was done, or what will be done by whom.
        is_lost: Whether nothing can restore it.
    """

    path: Path
    problem: str
    action: str
    is_lost: bool = False


def set_aside(path: Path) -> None:
    """Rename a damaged file, so that it is taken for missing and can still be examined.

    Raises:
        OSError: The file cannot be renamed.
    """
    path.replace(path.with_name(f"{path.name}.damaged"))
