from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_distill.analysis.trials.filters import KINDS, MAX_CHARACTERS, parse_filter
from nas_distill.analysis.trials.study_reader import COLUMNS
from nas_distill.errors import ConfigError

_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def _trials() -> pd.DataFrame:
    rows = {
        "number": [0, 1, 2, 3, 4],
        "family": ["resnet", "vit", "resnet", None, "mobile net"],
        "num_params": [1000, 20_000, 300_000, 10_000, None],
        "gap_points": [12.0, 1.5, -0.25, None, 2.0],
        "latency_ms": [0.5, 2.5, 9.0, None, 1.0],
        "top1": [0.8, 0.9, 0.95, 0.9, None],
        "train_top1": [0.9, 0.9, 0.99, None, 1.0],
    }
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(dict(COLUMNS))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("latency_ms<3 and gap_points<1", []),
        ("latency_ms<3 and gap_points<2", [1]),
        ("gap_points < 2.0 or num_params == 1000", [0, 1, 2]),
        ("family == 'resnet' and not (num_params > 1e5 or gap_points > 20)", [0]),
        ("1e4 < num_params <= 3e5", [1, 2]),
        ("1e4 <= num_params < 3e5", [1, 3]),
        ("2 > gap_points >= -.25", [1, 2]),
        ("family in ('vit', \"mobile net\")", [1, 4]),
        ("family not in ['vit', 'mobile net']", [0, 2]),
        ("number in {1, 3, 3.0}", [1, 3]),
        ("'resnet' == family", [0, 2]),
        ("gap_points == -0.25", [2]),
        ("gap_points == +2", [4]),
        ("top1 < train_top1", [0, 2]),
        ("gap_points != 2", [0, 1, 2]),
        ("not gap_points == 2", [0, 1, 2]),
        ("not not gap_points == 2", [4]),
        ("gap_points < 100 or num_params > 1", [0, 1, 2, 3, 4]),
        ("gap_points < 100 and num_params > 1", [0, 1, 2]),
        ("not (gap_points < 100 and num_params < 1)", [0, 1, 2, 3]),
        ("num_params == 20_000", [1]),
        ("  number < 1\n or\n number > 3  ", [0, 4]),
        ("number<1or number>3", [0, 4]),
        ("num_params > 0x10000", [2]),
    ],
)
def test_a_filter_matches_the_expected_trials(text: str, numbers: list[int]) -> None:
    trials = _trials()
    mask = parse_filter(text).mask(trials)
    assert mask.dtype == np.bool_
    assert trials["number"][mask].tolist() == numbers


_NAMES = st.sampled_from(["num_params", "gap_points", "latency_ms", "top1"])
_NUMBERS = st.sampled_from(["1", "0.9", "2.5", "1e4", "-0.25", "300000"])


def _conditions() -> st.SearchStrategy[str]:
    simple = st.builds("{} {} {}".format, _NAMES, st.sampled_from(sorted(_RELATIONS)), _NUMBERS)
    chained = st.builds("{} < {} <= {}".format, _NUMBERS, _NAMES, _NUMBERS)
    family = st.sampled_from(["family == 'vit'", "family in ('vit', 'resnet')", "family != 'resnet'"])
    return st.recursive(
        simple | chained | family,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
            | st.builds("not {}".format, inner)
        ),
        max_leaves=6,
    )


@settings(deadline=None)
@given(_conditions())
def test_without_missing_values_a_filter_agrees_with_python(text: str) -> None:
    trials = _trials().iloc[:3]
    names = ("num_params", "gap_points", "latency_ms", "top1", "family")
    expected = [
        bool(eval(compile(ast.parse(text, mode="eval"), "", "eval"), {}, {name: row[name] for name in names}))
        for row in trials.to_dict("records")
    ]
    assert parse_filter(text).mask(trials).tolist() == expected


@settings(deadline=None)
@given(_conditions())
def test_unknown_values_match_neither_a_condition_nor_its_negation(text: str) -> None:
    trials = _trials()
    matched, rejected = parse_filter(text).mask(trials), parse_filter(f"not ({text})").mask(trials)
    assert not (matched & rejected).any()
    assert (matched | rejected)[:3].all()


@settings(deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="()<>=!-+.'\"[]{}, \nandotrifsgpx_19e*:;\\#@`\0", max_size=60))
def test_any_text_is_a_filter_or_an_error_of_one_line(text: str) -> None:
    message = _rejection(text)
    assert message is None or (message.startswith("--where: ") and "\n" not in message)


def _rejection(text: str) -> str | None:
    try:
        parse_filter(text).mask(_trials())
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "top1 < 1" + ")" * 10_000,
        "(" * 900 + "top1 < 1" + ")" * 900,
        "not " * 490 + "top1 < 1",
        "-" * 1900 + "1 < top1",
        "top1 < " * 280 + "1" + " and (" * 60 + "top1 < 1" + ")" * 60,
        "9**9**9**9 < top1",
        "top1 < 9**9**9",
        "top1 < " + "9" * 1900,
        "top1 < 1e999",
        "x." * 990 + "y",
        "[" * 150 + "]" * 150,
        "{}".format("top1<1 and " * 5000),
    ],
    ids=lambda text: f"{len(text)} characters: {text[:12]}",
)
def test_deep_long_and_huge_texts_are_rejected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filter(text)
    assert (caught.value.code, caught.value.field) == ("analysis.filter_syntax", "--where")


def test_the_longest_text_is_read() -> None:
    text = "top1 < 1 and " * 150 + "top1 < 0.85"
    assert MAX_CHARACTERS - 60 < len(text) <= MAX_CHARACTERS
    assert parse_filter(text).mask(_trials()).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "top1.real < 1", "top1[0] < 1", "max(top1) < 1", "(lambda: 1) < top1",
        "(top1 := 1) < 2", "[x for x in (1,)] == top1", "f'{top1}' == family", "top1 + 1 < 2", "top1 < 1 if 1 else 0",
        "top1 < True", "top1 < None", "top1 < ...", "top1 < 1j", "family == b'vit'", "~top1 < 1", "-top1 < 1", "top1",
        "True", "1", "'vit'", "not top1", "top1 and macs", "1 < 2", "1 in (1, 2)", "'a' == 'a'", "top1 is 1",
        "family in 'vit'", "family in ()", "family in family", "number in (1, top1)", "top1 < (1, 2)", "*top1", "",
        "top1 < 1; macs < 3", "import os", "top1 = 1", "top1 <", "(top1 < 1", "await top1 < 1",
    ],
)  # fmt: skip
def test_anything_but_a_comparison_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filter(text)
    assert caught.value.code in {"analysis.filter_syntax", "analysis.filter_types"}
    assert caught.value.field == "--where"


def test_a_comment_is_ignored() -> None:
    assert parse_filter("top1 < 1 # why").mask(_trials()).sum() == 4


@pytest.mark.parametrize(
    ("text", "code", "parts"),
    [
        ("gap_pionts < 1", "unknown_column", ("'gap_pionts' at character 1;", "'gap_points'?")),
        ("family == 'é' and zz < 1", "unknown_column", ("'zz' at character 19;",)),
        ("completed_at > 3", "unknown_column", ("'completed_at' at character 1;",)),
        ("family == 3", "types", ("'family' at character 1", "'3' at character 11")),
        ("top1 < 1 and top1 < 'x'", "types", ("'top1' at character 14", "''x'' at character 21")),
        ("number in (1, 'x')", "types", ("'number' at character 1", "''x'' at character 15")),
        ("family < 'b'", "types", ("'family' at character 1",)),
        ("top1 <", "syntax", ("at the end",)),
        ("(top1 < 1", "syntax", ("at character 1",)),
        ("   ", "syntax", ()),
    ],
)
def test_errors_have_a_code_and_name_the_position(text: str, code: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filter(text, origin="where")
    assert (caught.value.code, caught.value.field) == (f"analysis.filter_{code}", "where")
    assert all(part in str(caught.value) for part in parts)


def test_a_column_without_a_recorded_value_is_an_error() -> None:
    condition = parse_filter("top1 < 1 and latency_ms < 3")
    trials = _trials().assign(latency_ms=np.nan)
    for table, code in ((trials, "column_not_recorded"), (trials.drop(columns="latency_ms"), "unknown_column")):
        with pytest.raises(ConfigError) as caught:
            condition.mask(table)
        assert (caught.value.code, caught.value.field) == (f"analysis.filter_{code}", "--where")
        assert "latency_ms" in str(caught.value)
    assert condition.mask(trials.iloc[:0]).tolist() == []


def test_every_column_except_the_time_can_be_named() -> None:
    assert set(COLUMNS) - set(KINDS) == {"completed_at"}
    for name, kind in KINDS.items():
        assert parse_filter(f"{name} != {1 if kind == 'number' else repr('x')}").names == (name,)
