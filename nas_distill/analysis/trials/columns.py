"""Convert an ended trial, as the study stores it, into rows of the table of trials and of the table of curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from nas_distill.analysis.trials.cells import encode_cell
from nas_distill.errors import RunError, StudyError
from nas_distill.records import StudentSpec
from nas_distill.records.base import other_version, parse_record, unsealed
from nas_distill.records.task import TRIAL_SCHEMA_VERSION

_COSTS = (
    "num_params", "macs", "size_bytes", "size_fp16_bytes", "size_int8_bytes", "peak_memory_bytes",
    "latency_ms", "latency_iqr_ms", "throughput_per_s", "throughput_iqr_per_s",
)  # fmt: skip
_SCALARS = (
    "top1", "nll_nats", "gap_points", "agreement", "divergence_nats", "train_top1", "train_agreement",
    "train_divergence_nats", "generalisation_gap_points", "capacity_ratio", "ece", "ece_noise", "feature_cka",
)  # fmt: skip
_CALIBRATION = ("temperature", "uncalibrated_nll_nats", "uncalibrated_ece")
CURVE_VALUES = ("train_loss", "top1", "nll_nats", "gap_points", "agreement", "divergence_nats")
"""Columns of the table of curves besides `number` and `epoch`, as defined by `EpochMetrics`."""

COLUMNS: Mapping[str, str] = {
    "number": "Int64",
    "status": "string",
    "spec_id": "string",
    "family": "string",
    "architecture": "string",
    "arguments": "string",
    "initial_weights": "string",
    "copied_share": "float64",
    "num_params": "Int64",
    "macs": "Int64",
    "size_bytes": "Int64",
    "size_fp16_bytes": "Int64",
    "size_int8_bytes": "Int64",
    "peak_memory_bytes": "Int64",
    "latency_ms": "float64",
    "latency_iqr_ms": "float64",
    "throughput_per_s": "float64",
    "throughput_iqr_per_s": "float64",
    **dict.fromkeys((*_SCALARS, *_CALIBRATION), "float64"),
    **dict.fromkeys(("int8_gap_points", "int8_top1", "int8_ece", "int8_size_bytes", "int8_latency_ms"), "float64"),
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

`number` is Optuna's trial number, `status` a `TrialStatus`, `spec_id` the hash of the candidate. `arguments`,
`losses`, `recipe`, `class_gap_points` and `curve_gap_points` (the gap after each epoch, percentage points) are JSON;
read them with `analysis.trials.cells`. Costs, metrics, `epochs`, `seed`, `wall_time_s` (seconds) and `device` are
defined by `Cost`, `StudentMetrics`, `Calibration` and `TrialRecord`. `initial_weights` is what training started from
(`StudentSpec.initial_weights`), `copied_share` the share of the parameters that these weights set
(`InitialWeightsReport`). `assistant` is missing when the teacher taught. `planned_epochs` is full fidelity.
The columns `int8_...` are those of `Int8Record`, for students that `nas_distill quantise` measured. `completed_at` is
the time when the end was stored in the study. Unknown values are missing (NaN, NA), never zero.
"""

_POINT = ("epoch", *CURVE_VALUES)
_NO_OUTCOME = {"status": "failed", "error": "ended without a result: its worker died, or could not write"}


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """What the study holds of an ended trial, as parsed JSON that is not validated: long studies are read often.

    Attributes:
        task: A `TrialTask`; without a task, `spec` and `cost` as far as they are known.
        result: A `TrialResult`; empty when the trial ended without one.
    """

    task: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def curve(self) -> Sequence[Mapping[str, Any]]:
        """Learning curve: one `EpochMetrics` per epoch."""
        curve: Sequence[Mapping[str, Any]] = self.result["outcome"]["curve"] if self.result else ()
        return curve


def read_trial(attributes: Mapping[str, Any], where: str) -> StoredTrial:
    """Return task and result among the attributes of an ended trial.

    Args:
        attributes: User attributes of the trial in the study.
        where: Name of the trial in an error.

    Raises:
        RunError: The task or the result is damaged, or another version wrote it.
    """
    task, result = (_sealed_object(attributes.get(name), where) for name in ("task", "result"))
    return StoredTrial(task=task, result=result)


def _sealed_object(text: Any, where: str) -> dict[str, Any]:
    if text is None:
        return {}
    if not isinstance(text, str):
        raise RunError(f"holds {type(text).__name__} instead of text", code="run.damaged_record", field=where)
    try:
        content = unsealed(text, origin=where)
    except RunError:
        _check_version(_parsed(text), where)
        raise
    value = _parsed(content)
    _check_version(value, where)
    return value


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        value = from_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _check_version(value: Mapping[str, Any], where: str) -> None:
    if value and value.get("schema_version") != TRIAL_SCHEMA_VERSION:
        raise other_version(where, value.get("schema_version"), TRIAL_SCHEMA_VERSION)


def row_of(trial: StoredTrial, where: str) -> dict[str, Any]:
    """Return the trial's row of the table of trials, without number and time; None for what is unknown.

    Args:
        trial: An ended trial.
        where: Name of the trial in an error.

    Raises:
        RunError: The candidate violates a rule.
        StudyError: The result lacks a value.
    """
    task, cost, recipe = trial.task, trial.task.get("cost") or {}, trial.task.get("recipe") or {}
    try:
        outcome: Mapping[str, Any] = trial.result["outcome"] if trial.result else _NO_OUTCOME
        execution: Mapping[str, Any] = trial.result["execution"] if trial.result else {}
        metrics, curve = outcome.get("metrics") or {}, trial.curve
        return {
            "status": outcome["status"],
            **_candidate(task.get("spec") or {}, where),
            "copied_share": (execution.get("initial_weights") or {}).get("copied_share"),
            **{name: cost.get(name) for name in _COSTS},
            **{name: metrics.get(name) for name in _SCALARS},
            **{name: (metrics.get("calibration") or {}).get(name) for name in _CALIBRATION},
            "gap_points": _rounded(metrics.get("gap_points")),
            "class_gap_points": encode_cell(metrics.get("class_gap_points")),
            "epochs": len(curve) if trial.result else None,
            "planned_epochs": recipe.get("epochs"),
            "wall_time_s": sum(point["wall_time_s"] for point in curve) if trial.result else None,
            "seed": task.get("seed"),
            "assistant": task.get("assistant"),
            "losses": encode_cell(recipe.get("losses")),
            "recipe": encode_cell(recipe or None),
            "resumptions": execution.get("resumptions"),
            "device": execution.get("device"),
            "error": outcome.get("error"),
            "curve_gap_points": encode_cell([point.get("gap_points") for point in curve] or None),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"holds an incomplete result ({error})", code="study.damaged_trial", field=where) from None


def curve_of(number: int, trial: StoredTrial) -> NDArray[np.float64]:
    """Return the trial's rows of the table of curves, float64 [epochs, 2 + len(CURVE_VALUES)]; NaN for None."""
    values = [[number, *map(point.get, _POINT)] for point in trial.curve]
    return np.array(values, dtype=np.float64).reshape(-1, 2 + len(CURVE_VALUES))


def read_row(number: int, attributes: Mapping[str, Any], where: str) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return a trial's rows of the table of trials (see `row_of`) and of the table of curves (see `curve_of`).

    Args:
        number: Number of the trial.
        attributes: User attributes of the trial in the study.
        where: Name of the trial in an error.

    Raises:
        RunError: The task or the result is damaged, or another version wrote it.
        StudyError: The result lacks a value.
    """
    stored = read_trial(attributes, where)
    return row_of(stored, where), curve_of(number, stored)


def spec_of(text: object) -> dict[str, Any]:
    """Return the specification of a rejected candidate; empty when it is missing or damaged."""
    return _parsed(text) if isinstance(text, str) else {}


def _candidate(spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not spec:
        return dict.fromkeys(("spec_id", "family", "architecture", "arguments", "initial_weights"))
    parsed = parse_record(StudentSpec, json.dumps(spec), origin=f"{where}: spec")
    return {
        "spec_id": parsed.spec_id,
        "family": parsed.family,
        "architecture": parsed.architecture,
        "arguments": encode_cell(spec.get("arguments", {})),
        "initial_weights": parsed.initial_weights,
    }


def _rounded(gap_points: float | None) -> float | None:
    """Return a gap without floating-point noise, which would put a gap equal to a tolerance beyond it."""
    return None if gap_points is None else round(gap_points, 9)
