"""Look latencies up in a table that was measured elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from nas_distill.errors import ConfigError, SpaceError, first_line
from nas_distill.target.measurement import Measurement
from nas_distill.target.subject import Subject

_NAMES = {
    "infer_img_size": "img_size",
    "infer_step_time": "latency_ms",
    "infer_batch_size": "batch_size",
    "infer_gmacs": "gmacs",
}
"""Columns of timm's benchmark results and what they are called here."""


class TableSource:
    """Looks latencies up in a CSV file (`TargetConfig.latency_table`).

    Args:
        path: CSV file.
        interpolate: Whether to estimate latencies of networks that the table lacks.

    Raises:
        ConfigError: The file cannot be read, or lacks a column or a usable row.
    """

    name = "table"

    def __init__(self, path: Path, *, interpolate: bool) -> None:
        self._path = path
        self._rows = _read(path)
        self._interpolate = interpolate
        self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        self.device = path.name
        if interpolate and "macs" not in self._rows:
            raise _wrong(path, "has no column macs or infer_gmacs, which interpolation needs", "target.table_columns")

    def measure(self, subject: Subject) -> Measurement:
        """Return latency and, where the table has it, throughput of a network.

        Raises:
            SpaceError: The table does not have the network, and must not or cannot be interpolated.
        """
        rows = self._rows_of(subject)
        if len(rows):
            row = rows.iloc[0]
            throughput = row.get("throughput_per_s", np.nan)
            return Measurement(
                latency_ms=float(row["latency_ms"]), throughput_per_s=None if pd.isna(throughput) else float(throughput)
            )
        if self._interpolate:
            return Measurement(latency_ms=self._estimate(subject))
        raise SpaceError(
            f"{self._path.name} has no row for {describe(subject)}; add it, or estimate it with "
            "target.interpolate=true",
            code="target.not_in_table",
            field="target.latency_table",
        )

    def _rows_of(self, subject: Subject) -> pd.DataFrame:
        rows = self._for_size(subject.shape.image_size)
        if "network_id" in rows:
            own = rows[rows["network_id"] == subject.spec.network_id]
            if len(own):
                return own
        if "model" in rows and not subject.spec.arguments:
            name = subject.spec.architecture
            return rows[rows["model"].str.split(".").str[0] == name]
        return rows.iloc[:0]

    def _for_size(self, image_size: int) -> pd.DataFrame:
        return self._rows[self._rows["img_size"] == image_size] if "img_size" in self._rows else self._rows

    def _estimate(self, subject: Subject) -> float:
        """Return the latency at the network's MACs, on a line through the nearest rows on log scales."""
        rows = self._for_size(subject.shape.image_size)
        points = rows[rows["macs"] > 0].groupby("macs")["latency_ms"].median()
        macs = subject.cost.macs
        if not len(points) or not points.index.min() <= macs <= points.index.max():
            raise SpaceError(
                f"{self._path.name} has no rows around {macs:,} MACs for {subject.shape.image_size} pixels, so the "
                f"latency of {describe(subject)} cannot be estimated; add smaller and larger networks",
                code="target.outside_table",
                field="target.latency_table",
            )
        x, y = np.log(points.index.to_numpy(dtype=np.float64)), np.log(points.to_numpy(dtype=np.float64))
        return float(np.exp(np.interp(np.log(macs), x, y)))


def describe(subject: Subject) -> str:
    """Return the name of a network in a table: model or network_id, and image size."""
    spec = subject.spec
    own = "" if not spec.arguments else f" with arguments (network_id {spec.network_id})"
    return f"model {spec.architecture}{own} at {subject.shape.image_size} pixels"


def _read(path: Path) -> pd.DataFrame:
    try:
        rows: pd.DataFrame = pd.read_csv(path, thousands=",").rename(columns=_NAMES)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise _wrong(path, f"cannot be read as CSV: {first_line(error)}", "target.table_unreadable") from error
    if "latency_ms" not in rows or not {"model", "network_id"} & set(rows.columns):
        raise _wrong(
            path,
            "needs the columns model or network_id, and latency_ms or infer_step_time; it has "
            f"{', '.join(map(str, rows.columns))[:200]}",
            "target.table_columns",
        )
    if "batch_size" in rows:
        rows = rows[rows["batch_size"] == 1]
    if "gmacs" in rows and "macs" not in rows:
        rows = rows.assign(macs=(rows["gmacs"].astype(float) * 1e9).round())
    for name in ("latency_ms", "throughput_per_s", "macs", "img_size"):
        if name in rows:
            rows = rows.assign(**{name: pd.to_numeric(rows[name], errors="coerce")})
    for name in ("model", "network_id"):
        if name in rows:
            rows = rows.assign(**{name: rows[name].astype(str)})
    rows = rows[np.isfinite(rows["latency_ms"]) & (rows["latency_ms"] > 0)]
    if not len(rows):
        raise _wrong(path, "has no row with a latency of one image above 0", "target.table_columns")
    return rows


def _wrong(path: Path, reason: str, code: str) -> ConfigError:
    return ConfigError(f"{path} {reason}; correct the file", code=code, field="target.latency_table")
