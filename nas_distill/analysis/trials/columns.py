"""A trial's record, as the study keeps it, to a row of the table of trials and rows of the table of curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from nas_distill.errors import StudyError
from nas_distill.records import StudentSpec
from nas_distill.records.base import SCHEMA_VERSION, parse_record

_COSTS = ("num_params", "macs", "size_bytes", "latency_ms")
_SCALARS = (
    "top1", "nll_nats", "gap_points", "agreement", "divergence_nats", "train_top1", "train_agreement",
    "train_divergence_nats", "generalisation_gap_points", "capacity_ratio", "ece", "feature_cka",
)  # fmt: skip
CURVE_VALUES = ("train_loss", "top1", "nll_nats", "gap_points", "agreement", "divergence_nats")
"""Columns of the table of curves, beside `number` and `epoch`; they mean what `EpochMetrics` says."""

COLUMNS: Mapping[str, str] = {
    "number": "Int64",
    "status": "string",
    "spec_id": "string",
    "family": "string",
    "architecture": "string",
    "arguments": "string",
    "num_params": "Int64",
    "macs": "Int64",
    "size_bytes": "Int64",
    "latency_ms": "float64",
    **dict.fromkeys(_SCALARS, "float64"),
    "class_gap_points": "string",
    "epochs": "Int64",
    "planned_epochs": "Int64",
    "wall_time_s": "float64",
    "seed": "Int64",
    "assistant": "Int64",
    "losses": "string",
    "recipe": "string",
    "resumptions": "Int64",
    "device": "string",
    "error": "string",
    "curve_gap_points": "string",
    "completed_at": "datetime64[ns, UTC]",
}
"""Columns of the table of trials, in order, with their pandas types.

`number` is Optuna's, `status` a `TrialStatus` value, `spec_id` the hash of the candidate. `arguments`,
`losses`, `recipe` and `class_gap_points` are JSON, as is `curve_gap_points` (the gap after each epoch,
percentage points). Costs, metrics, `epochs`, `seed`, `wall_time_s` (seconds) and `device` mean what `Cost`,
`StudentMetrics` and `TrialRecord` say; `assistant` is missing where the teacher taught. `planned_epochs` is full
fidelity. `completed_at` is when the study heard of the end. What is not known is missing (NaN, NA), never zero.
"""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_POINT = ("epoch", *CURVE_VALUES)


def read_record(attributes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the record among a trial's attributes; empty where it has none.

    Args:
        attributes: Of the trial in the study; `record` is JSON.
        where: What to call the trial in an error.

    Raises:
        StudyError: The record is damaged, or was written by another version.
    """
    record = json_object(attributes.get("record"), where)
    if record and record.get("schema_version") != SCHEMA_VERSION:
        raise StudyError(
            f"{where}: schema_version {record.get('schema_version')!r} is not {SCHEMA_VERSION}; "
            "it was written by another version of nas_distill, open the run with that one"
        )
    return record


def row_of(attributes: Mapping[str, Any], record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns what the table of trials says of a trial, without its number and time; None where it is not known.

    Args:
        attributes: Of the trial; `spec` and `cost`, JSON, stand in where there is no record.
        record: Of the trial; may be empty.
        where: What to call the trial in an error.

    Raises:
        RunError: The candidate breaks a rule.
        StudyError: An attribute is damaged.
    """
    spec = record.get("spec") or json_object(attributes.get("spec"), where)
    cost = record.get("cost") or json_object(attributes.get("cost"), where)
    metrics = record.get("metrics") or {}
    recipe = record.get("recipe") or {}
    curve = [point.get("gap_points") for point in record.get("curve", ())]
    return {
        "status": record.get("status", "failed"),
        **_candidate(spec, where),
        **{name: cost.get(name) for name in _COSTS},
        **{name: metrics.get(name) for name in _SCALARS},
        "gap_points": _rounded(metrics.get("gap_points")),
        "class_gap_points": _dumped(metrics.get("class_gap_points")),
        "epochs": record.get("epochs"),
        "planned_epochs": recipe.get("epochs"),
        "wall_time_s": record.get("wall_time_s"),
        "seed": record.get("seed"),
        "assistant": record.get("assistant"),
        "losses": _dumped(recipe.get("losses")),
        "recipe": _dumped(recipe or None),
        "resumptions": record.get("resumptions"),
        "device": record.get("device"),
        "error": record.get("error") if record else "ended without a record: its worker died, or could not write",
        "curve_gap_points": _dumped(curve or None),
    }


def curve_of(number: int, record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Returns the rows of a trial in the table of curves, float64 [epochs, 2 + len(CURVE_VALUES)]; None is NaN."""
    points: Sequence[Mapping[str, Any]] = record.get("curve", ())
    values = [[number, *map(point.get, _POINT)] for point in points]
    return np.array(values, dtype=np.float64).reshape(-1, 2 + len(CURVE_VALUES))


def json_object(text: object, where: str) -> dict[str, Any]:
    """Returns the object in `text`; empty when there is no text.

    Raises:
        StudyError: The text holds no object.
    """
    if text is None:
        return {}
    try:
        value = from_json(text)  # type: ignore[arg-type]  # what is no text is damage too
    except (ValueError, TypeError) as error:
        raise StudyError(f"{where}: holds damaged JSON ({error}); restore the study from the trials/ folder") from None
    if not isinstance(value, dict):
        raise StudyError(f"{where}: holds {type(value).__name__} where an object belongs")
    return value


def _candidate(spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not spec:
        return dict.fromkeys(("spec_id", "family", "architecture", "arguments"))
    parsed = parse_record(StudentSpec, json.dumps(spec), origin=f"{where}: spec")
    return {
        "spec_id": parsed.spec_id,
        "family": parsed.family,
        "architecture": parsed.architecture,
        "arguments": _dumped(spec.get("arguments", {})),
    }


def _rounded(gap_points: float | None) -> float | None:
    """Returns a gap without noise of floating point, which would put one that is at a tolerance beyond it."""
    return None if gap_points is None else round(gap_points, 9)


def _dumped(value: object) -> str | None:
    return None if value is None else _ENCODER.encode(value)
