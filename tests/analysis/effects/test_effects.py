from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance

from nas_distill.analysis.effects.by_size import labels_by_size
from nas_distill.analysis.effects.effects import Effect, Effects, parameter_effects
from nas_distill.analysis.effects.importance import coded, out_of_fold_errors, rise_of_error
from nas_distill.analysis.effects.parameters import parameter_table
from nas_distill.analysis.effects.value_scores import value_scores
from nas_distill.analysis.trials.study_reader import COLUMNS
from nas_distill.errors import ConfigError


def make_trials(count: int = 120, *, seed: int = 0, noise: float = 1.0, effect: float = 1.0) -> pd.DataFrame:
    """Return students whose gap depends on size, learning rate and loss, and on no other parameter.

    `arguments.width` is correlated with size only. `losses.kd.temperature` applies only to kd, and changes its gap.
    """
    generator = np.random.default_rng(seed)
    logs = generator.uniform(7.0, 12.0, count)
    rates = 10.0 ** generator.uniform(-4.0, -2.0, count)
    losses = generator.choice(["kd", "dist"], count)
    temperatures = generator.uniform(1.0, 8.0, count)
    gaps = 30.0 * np.exp(-0.4 * (logs - 7.0)) + generator.normal(0.0, noise, count)
    gaps += effect * (3.0 * (np.log10(rates) + 3.0) ** 2 + np.where(losses == "kd", 0.6 * temperatures, 0.0))
    rows = []
    for place in range(count):
        terms = {"kd": {"temperature": temperatures[place]}} if losses[place] == "kd" else {"dist": {}}
        recipe = {
            "learning_rate": rates[place],
            "dropout": generator.choice([0.0, 0.1, 0.2]),
            "weight_decay": generator.uniform(0.0, 0.1),
            "epochs": 10,
            "losses": terms,
            "adaptive": {"release": bool(generator.integers(2))},
        }
        rows.append(
            {
                "number": place,
                "status": "complete",
                "family": generator.choice(["resnet", "vit"]),
                "num_params": int(np.exp(logs[place])),
                "gap_points": gaps[place],
                "arguments": json.dumps({"width": int(10 * logs[place] + generator.integers(4)), "depths": [1, 2]}),
                "losses": json.dumps(terms),
                "recipe": json.dumps(recipe),
            }
        )
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


@pytest.fixture(scope="module")
def effects() -> Effects:
    return parameter_effects(make_trials(), repetitions=2)


def by_name(effects: Effects) -> dict[str, Effect]:
    return {row.name: row for row in effects.rows}


def test_only_parameters_that_change_the_gap_are_distinguishable_from_chance(effects: Effects) -> None:
    shown = {row.name for row in effects.rows if row.distinguishable}
    assert shown == {"learning_rate", "loss", "losses.kd.temperature"}
    assert {row.name for row in effects.rows[:3]} == shown
    assert effects.predicts
    assert effects.size_r2 > 0.5


def test_a_parameter_correlated_only_with_size_is_not_distinguishable(effects: Effects) -> None:
    row = by_name(effects)["arguments.width"]
    assert not row.distinguishable
    assert row.values == ()
    trials = make_trials()
    logs = np.log(trials["num_params"].to_numpy(dtype=float))
    width = coded(parameter_table(trials)[["arguments.width"]])[:, 0]
    assert abs(np.corrcoef(logs, width)[0, 1]) > 0.95


def test_intervals_contain_the_importance_and_rows_are_sorted(effects: Effects) -> None:
    points = [row.importance_points for row in effects.rows]
    assert points == sorted(points, reverse=True)
    for row in effects.rows:
        assert row.low <= row.importance_points <= row.high
        assert row.distinguishable == (row.low > effects.control_points)
    assert by_name(effects)["losses.kd.temperature"].students < effects.students


def test_the_best_values_of_a_parameter_are_found(effects: Effects) -> None:
    contrast = by_name(effects)["learning_rate"].contrast
    assert contrast is not None
    low, high = (float(end) for end in contrast[0].value.split(" to "))
    assert low < 1e-3 < high
    loss = by_name(effects)["loss"].contrast
    assert loss is not None
    assert (loss[0].value, loss[1].value) == ("dist", "kd")


def test_sentences_never_claim_a_cause(effects: Effects) -> None:
    text = " ".join(effects.sentences)
    assert "learning_rate is associated with the gap at equal size" in text
    assert "other parameters are not distinguishable from chance" in text
    for word in ("cause", "because", "due to", "leads to", "improve", "reduces"):
        assert word not in text


def test_without_any_effect_none_is_found() -> None:
    for seed in range(2):
        found = parameter_effects(make_trials(60, seed=seed, effect=0.0), repetitions=1)
        assert not any(row.distinguishable for row in found.rows)
        assert found.r2 < 0.1
        assert len(found.sentences) == 1


def test_correlated_parameters_name_each_other() -> None:
    trials = make_trials()
    recipes = [json.loads(recipe) for recipe in trials["recipe"]]
    for recipe in recipes:
        recipe["min_rate"] = recipe["learning_rate"] * (1.0 + 5.0 * recipe["weight_decay"])
    trials["recipe"] = [json.dumps(recipe) for recipe in recipes]
    rows = by_name(parameter_effects(trials, repetitions=1))
    assert rows["min_rate"].shares_with == ("learning_rate",)
    assert rows["learning_rate"].shares_with == ("min_rate",)


def test_effects_do_not_depend_on_the_order_of_trials() -> None:
    trials = make_trials(40)
    first = parameter_effects(trials, repetitions=1)
    assert parameter_effects(trials.sample(frac=1.0, random_state=0), repetitions=1) == first
    assert parameter_effects(trials, repetitions=1, seed=1) != first


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (make_trials(29), "29 fully trained students, and 30 are needed"),
        (make_trials(40).assign(status="stopped").astype(dict(COLUMNS)), "0 fully trained students"),
        (make_trials(40).assign(gap_points=1.0), "all students have the same gap"),
        (make_trials(40).assign(recipe="{}", arguments="{}", family="a"), "all students have the same parameters"),
    ],
)
def test_without_effects_there_is_a_reason(trials: pd.DataFrame, reason: str) -> None:
    found = parameter_effects(trials)
    assert found.rows == ()
    assert reason in found.reason
    assert found.reason in found.sentences[0]
    assert not found.predicts


def test_zero_repetitions_are_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        parameter_effects(make_trials(40), repetitions=0)
    assert (caught.value.code, caught.value.field) == ("analysis.count_too_small", "repetitions")


def test_students_of_an_assistant_do_not_count() -> None:
    trials = make_trials(40)
    trials.loc[0:9, "assistant"] = 20
    trials.loc[10, "gap_points"] = np.nan
    assert parameter_effects(trials).students == 29


def test_the_table_has_a_column_per_parameter_that_differs() -> None:
    trials = make_trials(40)
    table = parameter_table(trials)
    assert list(table.columns) == [
        "family", "arguments.width", "loss", "learning_rate", "dropout", "weight_decay", "adaptive.release",
        "losses.kd.temperature",
    ]  # fmt: skip
    kd = table["loss"] == "kd"
    assert table["losses.kd.temperature"].notna().equals(kd)
    assert set(table["adaptive.release"]) == {"True", "False"}
    assert len(table) == 40


def test_lists_are_flattened_and_equivalent_columns_are_kept_once() -> None:
    trials = make_trials(20)
    trials["architecture"] = trials["family"] + "_tiny"
    trials["arguments"] = [json.dumps({"depths": [1 + place % 3, 2]}) for place in range(20)]
    table = parameter_table(trials)
    assert "architecture" not in table.columns
    assert table["arguments.depths.0"].tolist() == [float(1 + place % 3) for place in range(20)]
    assert "arguments.depths.1" not in table.columns


def test_importance_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 3))
    gaps = 2.0 * values[:, 0] + values[:, 1] + generator.normal(0.0, 0.3, 200)
    found = out_of_fold_errors(generator.normal(size=200), gaps, values, repetitions=2, seed=0)
    mine = rise_of_error(found.shuffled, found.by_forest, np.full((1, 200), 1.0 / 200))[0]

    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(100, min_samples_leaf=3, max_features=1 / 3, random_state=0)
    forest.fit(values[:150], gaps[:150])
    theirs = permutation_importance(
        forest, values[150:], gaps[150:], scoring="neg_root_mean_squared_error", n_repeats=5, random_state=0
    ).importances_mean
    assert mine == pytest.approx(theirs, rel=0.45, abs=0.1)
    assert mine[0] > 1.0 > mine[1] > 0.2 > abs(mine[2])


def test_only_the_categories_with_the_most_students_are_scored() -> None:
    names = [f"rare{place}" for place in range(20)] + [f"six{place:02}" for place in range(14) for _ in range(6)]
    names += ["best"] * 7
    column, residuals = pd.Series(names), np.array([-5.0 if name == "best" else 1.0 for name in names])
    scores = value_scores(column, residuals, np.random.default_rng(0))
    assert [one.value for one in scores] == ["best", *(f"six{place:02}" for place in range(11))]
    turned = value_scores(column[::-1], residuals[::-1], np.random.default_rng(0))
    assert [(one.value, one.students) for one in turned] == [(one.value, one.students) for one in scores]


def test_values_are_categories_or_up_to_three_ranges_with_enough_students() -> None:
    generator = np.random.default_rng(0)
    residuals = np.concatenate([np.full(10, 1.0), np.full(10, -1.0), np.full(3, -9.0)])
    text = pd.Series(["a"] * 10 + ["b"] * 10 + ["c"] * 3)
    assert [(one.value, one.students, one.median_points) for one in value_scores(text, residuals, generator)] == [
        ("b", 10, -1.0),
        ("a", 10, 1.0),
    ]
    numbers: pd.Series[Any] = pd.Series(np.append(np.arange(22.0), np.nan))
    ranges = value_scores(numbers, residuals, generator)
    assert sum(one.students for one in ranges) == 22
    assert {one.value for one in ranges} == {"0 to 7", "8 to 14", "15 to 21"}


def test_families_of_each_band_of_sizes() -> None:
    rows = [
        {"number": place, "status": "complete", "family": family, "num_params": size, "gap_points": gap}
        for place, (family, size, gap) in enumerate(
            [("vit", 1000, 9.0)] * 3
            + [("resnet", 1100, 4.0)] * 3
            + [("vit", 9000, 1.0)] * 3
            + [("resnet", 9900, 2.0)] * 3
        )
    ]
    trials = pd.DataFrame.from_records(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))
    small, large = labels_by_size(trials, column="family", label=str, seed=0)
    assert (small.best.label, large.best.label) == ("resnet", "vit")
    assert small.best.interval == (4.0, 4.0)
    assert (small.largest, large.smallest) == (1100, 9000)


@pytest.mark.slow
def test_false_alarms_are_rare_and_true_effects_are_found() -> None:
    null = [parameter_effects(make_trials(60, seed=seed, effect=0.0), repetitions=1) for seed in range(100, 130)]
    alarms = sum(any(row.distinguishable for row in found.rows) for found in null)
    print(f"{alarms} of {len(null)} data sets without an effect have a parameter distinguishable from chance")
    assert alarms <= 3
    full = [parameter_effects(make_trials(120, seed=seed), repetitions=1) for seed in range(200, 215)]
    names = ("learning_rate", "loss", "losses.kd.temperature")
    hits = {name: sum(by_name(found)[name].distinguishable for found in full) for name in names}
    wrong = sum(row.distinguishable and row.name not in names for found in full for row in found.rows)
    print(f"of {len(full)} with effects: {hits}; {wrong} parameters without an effect reported")
    assert min(hits.values()) >= 9
    assert wrong <= 3
