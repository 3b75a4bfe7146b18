"""The JSON cells of the table of trials as typed values.

The table keeps nested values as JSON text, so that it can be written as CSV and Parquet. This module is the only place
that writes and reads these texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from nas_distill.records import Recipe

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a text that a spreadsheet runs as a formula."""

Losses = Mapping[str, Mapping[str, float]]
"""Parameters of each loss, by name of the loss."""


def encode_cell(value: object) -> str | None:
    """Return the JSON text of a cell; None for None."""
    return None if value is None else _ENCODER.encode(value)


def parse_arguments(cell: object) -> dict[str, Any]:
    """Return the keyword arguments of a candidate (`StudentSpec.arguments`); empty for a missing cell.

    Args:
        cell: Cell of the column `arguments`.
    """
    return dict(_parsed(cell, {}))


def parse_losses(cell: object) -> Losses:
    """Return the losses of a recipe (`Recipe.losses`); empty for a missing cell.

    Args:
        cell: Cell of the column `losses`.
    """
    losses: Losses = _parsed(cell, {})
    return losses


def parse_recipe(cell: object) -> Recipe | None:
    """Return a recipe, or None for a missing cell.

    Args:
        cell: Cell of the column `recipe`.
    """
    return None if _is_missing(cell) else Recipe.model_validate_json(str(cell))


def parse_recipe_fields(cell: object) -> dict[str, Any]:
    """Return the fields of a recipe as JSON values, sorted by name; empty for a missing cell.

    Args:
        cell: Cell of the column `recipe`.
    """
    return dict(_parsed(cell, {}))


def parse_gaps(cell: object) -> tuple[float | None, ...]:
    """Return gaps per class or per epoch, percentage points; empty for a missing cell.

    Args:
        cell: Cell of the column `class_gap_points` or `curve_gap_points`.
    """
    return tuple(None if gap is None else float(gap) for gap in _parsed(cell, []))


def parse_cell(cell: object) -> Any:
    """Return the JSON value of any of these cells, or None for a missing cell."""
    return _parsed(cell, None)


def _parsed(cell: object, missing: Any) -> Any:
    return missing if _is_missing(cell) else json.loads(str(cell))


def _is_missing(cell: object) -> bool:
    return cell == "" if isinstance(cell, str) else bool(pd.isna(cell))  # type: ignore[call-overload]


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV. A text that a spreadsheet would run as a formula gets an apostrophe in front.

    Args:
        frame: Any table; its index is left out.
    """
    safe = frame.copy()
    for name in safe.select_dtypes(include=["string", "object"]).columns:
        is_formula = safe[name].astype("string").str.startswith(_FORMULA).fillna(value=False).astype(bool)
        if is_formula.any():
            safe[name] = safe[name].where(~is_formula, "'" + safe[name].astype("string"))
    return str(safe.to_csv(index=False, lineterminator="\n"))
