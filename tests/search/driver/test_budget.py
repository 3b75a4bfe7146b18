from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.analysis.front.arithmetic import reference_point
from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.trials.study_reader import COLUMNS
from nas_distill.callbacks import BudgetLeft
from nas_distill.config import BudgetConfig
from nas_distill.objectives import check_objectives
from nas_distill.records import TrialStatus
from nas_distill.search.driver.budget import BudgetWatch, FrontGrowth, Spent, left, reached, spent_seconds
from tests.report.factory import make_record, make_teacher

OBJECTIVES = check_objectives(("gap_points", "num_params"))
TEACHER = make_teacher()
REFERENCE = reference_point(TEACHER, OBJECTIVES)
BOUNDS = {
    "trials": st.integers(1, 50),
    "time_s": st.floats(1, 1e5),
    "epochs": st.integers(1, 50),
    "patience": st.integers(1, 9),
}
SPENT = {
    "trials": st.integers(0, 99),
    "time_s": st.floats(0, 2e5),
    "epochs": st.integers(0, 99),
    "trials_since_growth": st.integers(0, 20),
}


@given(st.fixed_dictionaries({name: st.none() | bound for name, bound in BOUNDS.items()}), st.fixed_dictionaries(SPENT))
def test_the_search_ends_when_any_budget_is_reached(bounds: dict[str, Any], used: dict[str, Any]) -> None:
    budget, spent = BudgetConfig(**bounds), Spent(**used)
    bounds["trials"] = budget.most_trials  # there is a default without any other budget
    amounts = {
        "trials": used["trials"], "time_s": used["time_s"], "epochs": used["epochs"],
        "patience": used["trials_since_growth"],
    }  # fmt: skip
    expected = any(bound is not None and amounts[name] >= bound for name, bound in bounds.items())
    assert (reached(budget, spent) is not None) == expected
    rest = left(budget, spent)
    for name in ("time_s", "epochs", "patience"):
        value = getattr(rest, name)
        assert (value is None) == (bounds[name] is None)
        assert value is None or value == max(bounds[name] - amounts[name], 0)


@pytest.mark.parametrize(
    ("budget", "spent", "text"),
    [
        (BudgetConfig(trials=4), Spent(trials=4), "4 trials (--trials)"),
        (BudgetConfig(trials=9, time_s=5400), Spent(trials=4, time_s=5400), "1 h 30 min of searching (--time-budget)"),
        (BudgetConfig(epochs=3000), Spent(epochs=3001), "3,000 epochs (--epoch-budget)"),
        (
            BudgetConfig(patience=5),
            Spent(trials_since_growth=5),
            "5 fully trained trials in a row without a larger hypervolume (--patience)",
        ),
    ],
)
def test_the_reason_names_the_flag(budget: BudgetConfig, spent: Spent, text: str) -> None:
    assert reached(budget, spent) == text


def event(kind: str, second: float) -> dict[str, Any]:
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return {"event": kind, "time": time.isoformat(timespec="milliseconds")}


def test_time_is_summed_over_sessions() -> None:
    events = [
        event("assistant", 0), event("search", 10), event("trial", 20), event("end", 30),
        event("trial", 500), event("alive", 600),  # trainings by assistants do not count
        event("search", 1000), event("trial", 1040), event("alive", 1050),  # killed: counts to its last event
        event("search", 5000), event("end", 5007),
    ]  # fmt: skip
    assert spent_seconds(events) == pytest.approx(20 + 50 + 7)


def test_damaged_events_and_clocks_set_back_count_no_time() -> None:
    assert spent_seconds([]) == 0.0
    assert spent_seconds([{"event": "search"}, {"event": "end", "time": "yesterday"}, {}]) == 0.0
    assert spent_seconds([event("search", 100), event("trial", 40)]) == 0.0


def test_the_watch_continues_from_earlier_sessions() -> None:
    now = [50.0]
    watch = BudgetWatch(BudgetConfig(time_s=100.0), spent_s=70.0, clock=lambda: now[0])
    now[0] = 60.0
    watch.ended(make_record(0, gap_points=1.0, num_params=1000))
    watch.ended(make_record(1, gap_points=1.0, num_params=1000, status=TrialStatus.STOPPED))
    spent = watch.spent(trials=3, epochs_in_flight=2)
    assert spent == Spent(trials=3, time_s=80.0, epochs=12 + 3 + 2)
    assert left(watch.budget, spent) == BudgetLeft(time_s=20.0)


def test_patience_counts_full_trials_without_growth() -> None:
    watch = BudgetWatch(BudgetConfig(patience=2), growth=FrontGrowth(OBJECTIVES, REFERENCE))
    stills = []
    for number, (gap, size, status) in enumerate([
        (5.0, 9000, TrialStatus.COMPLETE), (6.0, 9000, TrialStatus.COMPLETE), (1.0, 9000, TrialStatus.STOPPED),
        (6.0, 8000, TrialStatus.COMPLETE), (5.0, 9000, TrialStatus.COMPLETE), (7.0, 9500, TrialStatus.COMPLETE),
        (1.0, 10, TrialStatus.FAILED),
    ]):  # fmt: skip
        watch.ended(make_record(number, gap_points=gap, num_params=size, status=status))
        stills.append(watch.spent(trials=0, epochs_in_flight=0).trials_since_growth)
    assert stills == [0, 1, 1, 0, 1, 2, 2]


@given(st.lists(st.tuples(st.floats(-2, 120), st.integers(1, 2_000_000)), min_size=1, max_size=25))
def test_the_hypervolume_equals_that_of_the_reported_front(points: list[tuple[float, int]]) -> None:
    import pandas as pd

    growth = FrontGrowth(OBJECTIVES, REFERENCE)
    for point in points:
        before = growth.hypervolume
        growth.add(point)
        assert (growth.trials_since_growth == 0) == (growth.hypervolume > before * (1 + 1e-12))
    rows = [{"number": n, "status": "complete", "gap_points": g, "num_params": p} for n, (g, p) in enumerate(points)]
    frame = pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))
    assert growth.hypervolume == pytest.approx(pareto_front(frame, OBJECTIVES, TEACHER).hypervolume, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8h", 28800),
        ("90m", 5400),
        ("3600s", 3600),
        ("1h30m", 5400),
        ("1d", 86400),
        ("0.5h", 1800),
        ("45", 45),
        (60, 60),
    ],
)
def test_durations_are_parsed(text: str | int, seconds: float) -> None:
    assert BudgetConfig.model_validate({"time_s": text}).time_s == seconds


@pytest.mark.parametrize("text", ["", "soon", "8x", "h", "-3h", "0s", 0])
def test_an_invalid_duration_is_rejected(text: str | int) -> None:
    with pytest.raises(ValueError, match="time_s"):
        BudgetConfig.model_validate({"time_s": text})


def test_sixteen_trials_unless_there_is_another_budget() -> None:
    assert BudgetConfig().most_trials == 16
    assert BudgetConfig(trials=3, epochs=9).most_trials == 3
    assert BudgetConfig(patience=4).most_trials is None
    assert BudgetConfig.model_validate({"time_s": "1h"}).most_trials is None
