"""Tables of learning curves: one Parquet file each, with the metadata to judge and replay them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nas_distill.errors import RunError
from nas_distill.records import Cost, Recipe, StudentSpec, TeacherRecord
from nas_distill.records.base import parse_record

TABLES = Path(__file__).parent / "tables"
CURVES = ("gap_points", "raw_gap_points", "divergence_nats", "nll_nats", "wall_time_s", "cpu_time_s")
"""Columns with one float32 per epoch, see `curves.Curve`."""
_PROVENANCE = b"provenance"
_FIX = "make a table with python -m benchmarks.search_quality.make_tables"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One training.

    Attributes:
        candidate: Number of the candidate, shared by its replicates.
        replicate: Number of the replicate, from 0; each has its own seed.
        seed: Seed of initial weights, image order and dropout.
        parameters: Parameters that the sampler chose, by name.
        spec: Architecture of the candidate.
        recipe: Recipe of the training.
        cost: Cost of the candidate.
        commit: Commit of the code.
        error: Reason of a failure; empty if the training succeeded.
        curves: Values per epoch, by the names in `CURVES`.
    """

    candidate: int
    replicate: int
    seed: int
    parameters: Mapping[str, Any]
    spec: StudentSpec
    recipe: Recipe
    cost: Cost
    commit: str
    error: str
    curves: Mapping[str, Floats]


@dataclass(frozen=True)
class CurveTable:
    """Trainings of one space with one teacher.

    Attributes:
        rows: Trainings, ordered by candidate and replicate.
        provenance: Space, seeds, data, teacher (a `TeacherRecord`), epochs, hardware, versions, commit and date.
    """

    rows: tuple[Row, ...]
    provenance: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        """Epochs per training."""
        return int(self.provenance["epochs"])

    @cached_property
    def teacher(self) -> TeacherRecord:
        """The teacher that gaps are measured against."""
        return TeacherRecord.model_validate(self.provenance["teacher"])

    @property
    def num_candidates(self) -> int:
        """Number of distinct candidates."""
        return len({row.candidate for row in self.rows})


@dataclass(frozen=True, slots=True)
class End:
    """Where a training ends under its recipe's early stopping, and which weights it keeps.

    Attributes:
        epochs: Number of epochs trained.
        kept: Epoch whose weights are kept, from 1; the last one without early stopping.
    """

    epochs: int
    kept: int


def ended(row: Row) -> End:
    """Return where a training that did not fail ends, by the same rule as `train.loop.Trainer`."""
    gaps, nlls, patience = row.curves["gap_points"], row.curves["nll_nats"], row.recipe.early_stopping_patience
    if patience == 0:
        return End(len(gaps), len(gaps))
    best, kept = (np.inf, np.inf), 0
    for epoch, score in enumerate(zip(gaps, nlls, strict=True), start=1):
        if score < best:
            best, kept = score, epoch
        if epoch - kept >= patience:
            return End(epoch, kept)
    return End(len(gaps), kept)


def shortened(table: CurveTable, epochs: int) -> CurveTable:
    """Return a table with fewer epochs, evenly chosen; the last one is kept.

    Args:
        table: Table of learning curves.
        epochs: Number of epochs, at most that of the table.
    """
    chosen = np.ceil(np.arange(1, epochs + 1) * table.epochs / epochs).astype(int) - 1
    return CurveTable(
        rows=tuple(_shortened(row, chosen, epochs / table.epochs) for row in table.rows),
        provenance={**table.provenance, "epochs": epochs},
    )


def _shortened(row: Row, chosen: np.ndarray[Any, np.dtype[np.int64]], share: float) -> Row:
    kept = chosen[chosen < len(row.curves["gap_points"])]  # a failed training has fewer epochs
    patience = math.ceil(row.recipe.early_stopping_patience * share)
    return replace(
        row,
        recipe=row.recipe.model_copy(update={"early_stopping_patience": patience}),
        curves={name: row.curves[name][kept] for name in CURVES},
    )


def write_table(table: CurveTable, path: Path) -> None:
    """Write a table, compressed with zstd; the provenance is JSON in the metadata of the file."""
    rows = table.rows
    columns: dict[str, pa.Array] = {
        "candidate": pa.array([row.candidate for row in rows], pa.int32()),
        "replicate": pa.array([row.replicate for row in rows], pa.int16()),
        "seed": pa.array([row.seed for row in rows], pa.int64()),
        "parameters": pa.array([json.dumps(dict(row.parameters), sort_keys=True) for row in rows]),
        "spec": pa.array([row.spec.canonical_json() for row in rows]),
        "recipe": pa.array([row.recipe.canonical_json() for row in rows]),
        "num_params": pa.array([row.cost.num_params for row in rows], pa.int64()),
        "macs": pa.array([row.cost.macs for row in rows], pa.int64()),
        "size_bytes": pa.array([row.cost.size_bytes for row in rows], pa.int64()),
        "commit": pa.array([row.commit for row in rows]),
        "error": pa.array([row.error for row in rows]),
        **{name: pa.array([row.curves[name].tolist() for row in rows], pa.list_(pa.float32())) for name in CURVES},
    }
    made = pa.table(columns).replace_schema_metadata({_PROVENANCE: json.dumps(dict(table.provenance)).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    pq.write_table(made, draft, compression="zstd", compression_level=19)
    draft.replace(path)


def read_table(path: Path) -> CurveTable:
    """Read a table that `write_table` has written.

    Raises:
        RunError: The file does not exist or is not a table of learning curves.
    """
    try:
        found = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(f"cannot be read ({error}); {_FIX}", code="run.unreadable_file", field=str(path)) from error
    metadata = found.schema.metadata or {}
    if _PROVENANCE not in metadata:
        raise RunError(f"is not a table of learning curves; {_FIX}", code="run.damaged_record", field=str(path))
    return CurveTable(
        rows=tuple(_row(values, path) for values in found.to_pylist()), provenance=json.loads(metadata[_PROVENANCE])
    )


def _row(values: Mapping[str, Any], path: Path) -> Row:
    return Row(
        candidate=values["candidate"],
        replicate=values["replicate"],
        seed=values["seed"],
        parameters=json.loads(values["parameters"]),
        spec=parse_record(StudentSpec, values["spec"], origin=str(path)),
        recipe=parse_record(Recipe, values["recipe"], origin=str(path)),
        cost=Cost(num_params=values["num_params"], macs=values["macs"], size_bytes=values["size_bytes"]),
        commit=values["commit"],
        error=values["error"],
        curves={name: np.asarray(values[name], dtype=np.float64) for name in CURVES},
    )
