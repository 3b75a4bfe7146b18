"""Synthetic students, and the verdicts of the decision table on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import Diagnosis
from nas_distill.analysis.trials.columns import COLUMNS, CURVE_VALUES
from nas_distill.config import DiagnosisConfig

IMAGES = 1000
FALLING = np.array([48.0, 42.0, 36.0, 30.0, 24.0, 18.0, 12.0, 6.0])
"""Gaps whose second half gained 21 points."""
ENDED = np.array([48.0, 20.0, 8.0, 6.2, 6.0, 6.0, 6.0, 6.0])


def student(number: int, *, gap: float = 1.0, size: int = 10_000, **changes: Any) -> dict[str, Any]:
    """Return the row of a student that fits and generalises."""
    return {
        "number": number, "status": "complete", "spec_id": f"spec{number}", "family": "resnet",
        "architecture": "small_resnet", "num_params": size, "gap_points": gap, "top1": 0.95 - gap / 100.0,
        "agreement": 0.96, "train_agreement": 0.97, "train_divergence_nats": 0.05,
        "generalisation_gap_points": 1.0, "feature_cka": 0.8,
        "losses": '{"kd":{}}', "epochs": 8, "planned_epochs": 8, "curve": ENDED, **changes,
    }  # fmt: skip


def judge(
    *rows: dict[str, Any],
    images: int = IMAGES,
    settings: DiagnosisConfig | None = None,
    number: int | None = None,
    teacher_epochs: int | None = None,
) -> dict[int, Diagnosis]:
    trials = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    curves = [
        {"number": row["number"], "epoch": epoch, **dict.fromkeys(CURVE_VALUES, value)}
        for row in rows
        for epoch, value in enumerate(row.get("curve", ()), 1)
    ]
    table = pd.DataFrame(curves, columns=["number", "epoch", *CURVE_VALUES])
    found = diagnose(
        trials.astype(dict(COLUMNS)), table, images=images, teacher_epochs=teacher_epochs, settings=settings,
        number=number,
    )  # fmt: skip
    return {one.number: one for one in found}


def verdict(*rows: dict[str, Any], **options: Any) -> str:
    """Return the verdict on the first row."""
    return judge(*rows, **options)[rows[0]["number"]].verdict
