"""Records are immutable and finite, survive JSON and pickle, and report damaged or newer text; `spec_id`."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas_distill.errors import RunError
from nas_distill.records import (
    Confirmation,
    Cost,
    EpochMetrics,
    Fold,
    Recipe,
    StudentMetrics,
    StudentSpec,
    TrialOutcome,
    TrialRecord,
    TrialResult,
    TrialStatus,
    TrialTask,
)
from nas_distill.records.base import Record, parse_record
from tests.records.factory import changed_record
from tests.records.strategies import (
    COSTS,
    EPOCHS,
    METRICS,
    RECIPES,
    SPECS,
    TEACHERS,
    TRIALS,
)


def make_trial(**changes: Any) -> TrialRecord:
    task = TrialTask(
        number=0,
        seed=0,
        spec=StudentSpec(architecture="resnet18"),
        recipe=Recipe(),
        cost=Cost(num_params=1, macs=1, size_bytes=4),
    )
    record = TrialRecord(task=task, outcome=TrialOutcome(status=TrialStatus.STOPPED))
    return changed_record(record, **changes)


def make_metrics() -> StudentMetrics:
    return StudentMetrics(
        top1=0.9, nll_nats=0.3, gap_points=2.5, agreement=0.91, divergence_nats=0.1, train_top1=1.0,
        train_agreement=1.0, train_divergence_nats=0.0, generalisation_gap_points=10.0, capacity_ratio=0.1,
        class_gap_points=(2.5, None), class_counts=(10, 0),
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.one_of(SPECS, RECIPES, COSTS, EPOCHS, METRICS, TRIALS, TEACHERS))
def test_json_and_pickle_round_trip(record: Record) -> None:
    model = type(record)
    back = parse_record(model, record.model_dump_json(), origin="here")
    assert back == record
    assert parse_record(model, record.model_dump_json(indent=1).encode(), origin="here") == record
    assert parse_record(model, record.canonical_json(), origin="here") == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert back.digest() == record.digest()
    assert back.canonical_json() == record.canonical_json()


@settings(deadline=None)
@given(SPECS, st.randoms(use_true_random=False))
def test_spec_id_does_not_depend_on_the_order_of_arguments(spec: StudentSpec, random: Any) -> None:
    names = list(spec.arguments)
    random.shuffle(names)
    shuffled = StudentSpec(**{**dict(spec), "arguments": {name: spec.arguments[name] for name in names}})
    assert shuffled == spec
    assert shuffled.spec_id == spec.spec_id
    assert hash(shuffled) == hash(spec)
    assert list(shuffled.arguments) == list(spec.arguments)


def test_spec_id_is_stable() -> None:
    # Stored students are found by it: a change needs a new schema_version.
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (8, 16), "depths": [1, 1], "block": "basic"})
    assert spec.canonical_json() == (
        '{"architecture":"small_resnet","arguments":{"block":"basic","depths":[1,1],"widths":[8,16]},'
        '"family":"small_resnet","initial_weights":null}'
    )
    assert spec.spec_id == "a6c16c9a89ca"


def test_specs_differ_where_json_differs() -> None:
    values = (1, 1.0, True, "1", (1,), None, 0)
    specs = {StudentSpec(architecture="a", arguments={"x": value}) for value in values}
    assert len(specs) == len({spec.spec_id for spec in specs}) == len(values)
    assert StudentSpec(architecture="a") != "a"


def test_the_family_is_the_architecture_by_default() -> None:
    assert StudentSpec(architecture="resnet18").family == "resnet18"
    assert StudentSpec(architecture="resnet18", family="").family == "resnet18"
    assert StudentSpec(architecture="resnet18", family="residual").family == "residual"


def test_keyword_arguments_are_a_mutable_copy() -> None:
    spec = StudentSpec(architecture="a", arguments={"depths": [1, 2], "extra": {"b": 1}, "c": 2})
    arguments = spec.keyword_arguments()
    assert arguments == {"depths": (1, 2), "extra": {"b": 1}, "c": 2}
    arguments["c"] = arguments["extra"]["b"] = 9
    assert spec.keyword_arguments() == {"depths": (1, 2), "extra": {"b": 1}, "c": 2}


def _write(mapping: Mapping[str, Any], key: str) -> None:
    mapping[key] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    "change",
    [
        lambda trial: setattr(trial, "outcome", None),
        lambda trial: setattr(trial, "number", 1),
        lambda trial: setattr(trial.task, "number", 1),
        lambda trial: setattr(trial.spec, "architecture", "b"),
        lambda trial: setattr(trial.recipe, "epochs", 1),
        lambda trial: delattr(trial, "number"),
        lambda trial: _write(trial.spec.arguments, "widths"),
        lambda trial: _write(trial.spec.arguments["inner"], "a"),
        lambda trial: _write(trial.spec.arguments["inner"]["list"][0], "a"),
        lambda trial: trial.spec.arguments["widths"].append(3),
        lambda trial: _write(trial.recipe.losses, "dist"),
        lambda trial: _write(trial.recipe.losses["dist"], "weight"),
        lambda trial: _write(trial.curve[0].loss_parts, "label"),
    ],
)
def test_records_are_frozen_all_the_way_down(change: Callable[[TrialRecord], None]) -> None:
    given_arguments: dict[str, Any] = {"widths": [1, 2], "inner": {"a": 0, "list": [{"a": 0}]}}
    epoch = EpochMetrics(
        epoch=1, train_loss=1.0, loss_parts={"label": 1.0}, learning_rate=0.1, top1=0.5, nll_nats=1.0, wall_time_s=1.0
    )
    trial = make_trial(spec=StudentSpec(architecture="a", arguments=given_arguments), curve=(epoch,))
    digest = trial.digest()
    with pytest.raises((ValidationError, TypeError, AttributeError)):
        change(trial)
    given_arguments["inner"]["a"] = 5
    given_arguments["widths"].append(3)
    assert trial.digest() == digest


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_rejected(bad: float) -> None:
    for build in (
        lambda: StudentSpec(architecture="a", arguments={"x": bad}),
        lambda: StudentSpec(architecture="a", arguments={"x": [{"y": bad}]}),
        lambda: Recipe(learning_rate=bad),
        lambda: Recipe(losses={"kd": {"temperature": bad}}),
        lambda: EpochMetrics(
            epoch=1, train_loss=bad, loss_parts={}, learning_rate=0, top1=0, nll_nats=0, wall_time_s=0
        ),
        lambda: EpochMetrics(
            epoch=1, train_loss=0, loss_parts={"kd": bad}, learning_rate=0, top1=0, nll_nats=0, wall_time_s=0
        ),
    ):
        with pytest.raises(ValidationError):
            build()


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", '"NaN"', '"Infinity"'])
def test_nan_and_infinity_are_rejected_from_disk(token: str) -> None:
    text = Recipe().model_dump_json().replace('"learning_rate":0.004', f'"learning_rate":{token}')
    assert token in text
    with pytest.raises(RunError) as caught:
        parse_record(Recipe, text, origin="here")
    assert (caught.value.code, caught.value.field) == ("run.damaged_record", "here")


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), 1j, {"a": {1: 2}}, {"a": {1: 2, "b": 3}}, [{(1,): 2}]])
def test_arguments_are_json_values(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        StudentSpec(architecture="a", arguments={"x": value})
    assert [error["loc"] for error in caught.value.errors()] == [("arguments",)]


def test_unknown_fields_are_rejected() -> None:
    with pytest.raises(ValidationError) as caught:
        StudentSpec(archtecture="a")  # type: ignore[call-arg]
    assert ("archtecture",) in [error["loc"] for error in caught.value.errors()]


def test_a_recipe_needs_labels_or_a_teacher_loss() -> None:
    for losses in ({}, {"kd": {"weight": 0.0}}):
        with pytest.raises(ValidationError) as caught:
            Recipe(losses=losses, label_weight=0.0)
        assert [error["loc"] for error in caught.value.errors()] == [()]
    assert Recipe(losses={"kd": {}}, label_weight=0.0).label_weight == 0.0
    assert Recipe(losses={}, label_weight=1.0).losses == {}


def test_an_outcome_has_metrics_when_complete_and_an_error_when_failed() -> None:
    assert TrialOutcome(status=TrialStatus.COMPLETE, metrics=make_metrics()).metrics is not None
    assert TrialOutcome(status=TrialStatus.FAILED, error="NaN").error == "NaN"
    for status, metrics, error in (
        (TrialStatus.COMPLETE, None, None),
        (TrialStatus.STOPPED, make_metrics(), None),
        (TrialStatus.FAILED, None, None),
        (TrialStatus.STOPPED, None, "NaN"),
        (TrialStatus.COMPLETE, make_metrics(), "NaN"),
    ):
        with pytest.raises(ValidationError):
            TrialOutcome(status=status, metrics=metrics, error=error)


@settings(deadline=None, max_examples=50)
@given(TRIALS)
def test_task_and_result_compose_the_record_again(record: TrialRecord) -> None:
    task = parse_record(TrialTask, record.task.model_dump_json(), origin="task")
    result = parse_record(TrialResult, record.result().model_dump_json(), origin="result")
    assert TrialRecord.compose(task, result, origin="here") == record
    assert record.epochs == len(record.outcome.curve)
    assert record.wall_time_s == sum(point.wall_time_s for point in record.outcome.curve)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 1},
        {"seed": 1},
        {"spec": StudentSpec(architecture="resnet18", arguments={"width": 8})},
        {"recipe": Recipe(epochs=3)},
        {"cost": Cost(num_params=2, macs=1, size_bytes=4)},
        {"assistant": 0},
        {"fold": Fold(number=0, of=2)},
        {"confirmation": Confirmation(arm="control", repetition=0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_result_of_another_task_is_an_error(change: dict[str, Any]) -> None:
    record = make_trial()
    other = changed_record(record, **change)
    with pytest.raises(RunError) as caught:
        TrialRecord.compose(record.task, other.result(), origin="here")
    assert (caught.value.code, caught.value.field) == ("run.foreign_result", "here")


def test_a_fold_is_one_of_its_number_of_parts() -> None:
    with pytest.raises(ValidationError):
        Fold(number=2, of=2)
