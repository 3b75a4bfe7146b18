"""Hypothesis strategies that draw valid records."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

from nas_distill.records import (
    Calibration,
    Cost,
    EpochMetrics,
    ExecutionInfo,
    Normalisation,
    Recipe,
    StudentMetrics,
    StudentSpec,
    TeacherRecord,
    TrialOutcome,
    TrialRecord,
    TrialStatus,
    TrialTask,
)

NAMES = st.text(string.ascii_letters + string.digits + "_.", min_size=1, max_size=8)
SHARES = st.floats(0.0, 1.0)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(0.0, 1e300, exclude_min=True)
COUNTS = st.integers(0, 2**62)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | FINITE | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
SPECS = st.builds(
    StudentSpec,
    architecture=NAMES,
    arguments=st.dictionaries(NAMES, JSON_VALUES, max_size=3),
    family=NAMES | st.just(""),
    initial_weights=st.sampled_from([None, "random", "teacher", "pretrained", "run:folder/3"]),
)
RECIPES = st.builds(
    Recipe,
    losses=st.dictionaries(NAMES, st.dictionaries(NAMES, FINITE, max_size=2), max_size=2),
    label_weight=POSITIVE,
    label_smoothing=st.floats(0.0, 1.0, exclude_max=True),
    learning_rate=POSITIVE,
    epochs=st.integers(1, 1000),
)
NORMALISATIONS = st.lists(st.tuples(SHARES, POSITIVE), min_size=1, max_size=4).map(
    lambda pairs: Normalisation(mean=tuple(mean for mean, _ in pairs), std=tuple(std for _, std in pairs))
)
COSTS = st.builds(Cost, num_params=st.integers(1, 2**62), macs=COUNTS, size_bytes=st.integers(1, 2**62))
EPOCHS = st.builds(
    EpochMetrics,
    epoch=st.integers(1, 1000),
    train_loss=FINITE,
    loss_parts=st.dictionaries(NAMES, FINITE, max_size=2),
    learning_rate=POSITIVE,
    top1=SHARES,
    nll_nats=POSITIVE,
    gap_points=st.none() | FINITE,
    agreement=st.none() | SHARES,
    divergence_nats=st.none() | POSITIVE,
    wall_time_s=POSITIVE,
)
CALIBRATIONS = st.builds(
    Calibration,
    temperature=st.floats(1e-3, 1e3),
    images=st.integers(1, 2**40),
    parts=st.integers(1, 10),
    in_weights=st.booleans(),
    uncalibrated_nll_nats=POSITIVE,
    uncalibrated_ece=SHARES,
)
METRICS = st.builds(
    StudentMetrics,
    top1=SHARES,
    nll_nats=POSITIVE,
    gap_points=FINITE,
    agreement=SHARES,
    divergence_nats=POSITIVE,
    train_top1=SHARES,
    train_agreement=SHARES,
    train_divergence_nats=POSITIVE,
    generalisation_gap_points=FINITE,
    capacity_ratio=POSITIVE,
    class_gap_points=st.lists(st.none() | FINITE, max_size=3).map(tuple),
    class_counts=st.lists(COUNTS, max_size=3).map(tuple),
    ece=st.none() | SHARES,
    ece_noise=st.none() | SHARES,
    calibration=st.none() | CALIBRATIONS,
)
CURVES = st.lists(EPOCHS, max_size=2).map(tuple)
ENDINGS: dict[TrialStatus, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    TrialStatus.COMPLETE: (METRICS, st.none()),
    TrialStatus.STOPPED: (st.none(), st.none()),
    TrialStatus.FAILED: (st.none(), st.text(max_size=8)),
}
TASKS = st.builds(TrialTask, number=COUNTS, seed=COUNTS, spec=SPECS, recipe=RECIPES, cost=COSTS)
TRIALS = st.one_of(
    [
        st.builds(
            TrialRecord,
            task=TASKS,
            execution=st.builds(
                ExecutionInfo, resumptions=COUNTS, device=NAMES, normalisation=st.none() | NORMALISATIONS
            ),
            outcome=st.builds(TrialOutcome, status=st.just(status), curve=CURVES, metrics=metrics, error=error),
        )
        for status, (metrics, error) in ENDINGS.items()
    ]
)
TEACHERS = st.builds(
    TeacherRecord,
    architecture=NAMES,
    weights_sha256=NAMES,
    class_names=st.lists(st.text(max_size=4), max_size=3).map(tuple),
    cost=COSTS,
    top1=SHARES,
    nll_nats=POSITIVE,
    normalisation=NORMALISATIONS,
    class_top1=st.lists(st.none() | SHARES, max_size=3).map(tuple),
    class_counts=st.lists(COUNTS, max_size=3).map(tuple),
    data_id=NAMES,
    trained_on_data_id=st.none() | NAMES,
    curve=CURVES,
)
