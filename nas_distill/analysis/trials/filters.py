"""Filters on trials, such as "gap_points < 1 and family == 'resnet'".

A filter is parsed as a Python expression, checked node by node, and evaluated on arrays; nothing in it is executed.

Own code instead of `DataFrame.query` on a checked expression, because of missing values: pandas compares NaN in a
float column as false, so "not gap_points > 2" would match a trial without a gap. Here such a comparison is unknown, as
in SQL. Errors also name the position in the text, which those of `query` do not.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.trials.columns import COLUMNS
from nas_distill.errors import ConfigError, nearest_names

MAX_CHARACTERS = 2000
MAX_LEVELS = 40
"""Deepest nesting of conditions, far below Python's recursion limit."""

KINDS: Mapping[str, Literal["number", "text"]] = {
    name: "text" if kind == "string" else "number" for name, kind in COLUMNS.items() if not kind.startswith("datetime")
}
"""The columns that a filter may name, and whether they hold numbers or text."""

_HOW_TO_RECORD = {
    **dict.fromkeys(
        ("latency_ms", "latency_iqr_ms", "throughput_per_s", "throughput_iqr_per_s"),
        "a search for latency_ms, or with --max-latency-ms, measures it",
    ),
    **dict.fromkeys(
        ("int8_gap_points", "int8_top1", "int8_ece", "int8_size_bytes", "int8_latency_ms"),
        "`nas_distill quantise RUN` measures it",
    ),
    "copied_share": "none of the trainings began",
    "assistant": "a search with --assistants trains such students",
    "error": "none of the trials failed",
}

_A = {"number": "a number", "text": "text"}
_Truth = pd.arrays.BooleanArray
_Kind = Literal["number", "text"]
_Relation = Callable[[Any, Any], Any]

_ORDER: Mapping[type[ast.cmpop], _Relation] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_RELATIONS: Mapping[type[ast.cmpop], _Relation] = {ast.Eq: operator.eq, ast.NotEq: operator.ne, **_ORDER}
_RULE = (
    "write comparisons of columns with numbers or text (<, <=, >, >=, ==, !=, in, not in), joined by and, or, not "
    "and parentheses"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on trials; `parse_filter` makes one.

    Attributes:
        text: Text of the condition.
        names: Names of its columns, in the order of the text.
        origin: Name of the option or argument that it came from, such as "--where"; the field of errors.
    """

    text: str
    names: tuple[str, ...]
    origin: str
    _condition: ast.expr

    def mask(self, trials: pd.DataFrame) -> NDArray[np.bool_]:
        """Mark the trials for which the condition is known to be true.

        A comparison with a missing value is unknown, and so is its negation (Kleene's three-valued logic, as in SQL's
        WHERE): "not gap_points > 2" does not match a trial without a gap.

        Args:
            trials: Table of N trials with the columns of `columns.COLUMNS`.

        Returns:
            Mask [N].

        Raises:
            ConfigError: The table lacks a column, or none of the column's values was recorded.
        """
        for name in self.names:
            if name not in trials:
                raise ConfigError(
                    f"the table has no column '{name}'; {_known(name, trials.columns)}",
                    code="analysis.filter_unknown_column",
                    field=self.origin,
                )
            if len(trials) and trials[name].isna().all():
                hint = _HOW_TO_RECORD.get(name, "this search did not measure it")
                raise ConfigError(
                    f"'{name}' is recorded for none of the {len(trials)} trials; {hint}",
                    code="analysis.filter_column_not_recorded",
                    field=self.origin,
                )
        return _truth(self._condition, trials).to_numpy(dtype=np.bool_, na_value=False)


def parse_filter(text: str, *, origin: str = "--where") -> Filter:
    """Parse a condition, which is written in a subset of Python's expressions. Nothing in it is executed.

    Args:
        text: Text of at most `MAX_CHARACTERS` characters, such as "latency_ms < 3 and 1e4 < num_params <= 1e5" or
            "family in ('resnet', 'vit')".
        origin: Name of the option or argument that the text came from; the field of errors.

    Raises:
        ConfigError: The text is not such a condition, names an unknown column, or compares text with a number.
    """
    if not text.strip():
        raise ConfigError(f"the condition is empty; {_RULE}", code="analysis.filter_syntax", field=origin)
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"the condition has {len(text):,} characters; shorten it to at most {MAX_CHARACTERS:,}",
            code="analysis.filter_syntax",
            field=origin,
        )
    source = " ".join(text.splitlines()).strip()
    checker = _Checker(source, origin)
    condition = checker.parsed()
    checker.condition(condition)
    return Filter(text=source, names=tuple(dict.fromkeys(checker.names)), origin=origin, _condition=condition)


class _Checker:
    """Check the syntax tree of a filter; errors name the position in the text."""

    def __init__(self, source: str, origin: str) -> None:
        self.names: list[str] = []
        self._source = source
        self._origin = origin

    def parsed(self) -> ast.expr:
        """Return the syntax tree, which is shallow enough for recursion."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns about "1and", which is unambiguous
                tree = ast.parse(self._source, mode="eval").body
        except SyntaxError as error:
            place = f"character {error.offset}" if error.lineno == 1 and error.offset else "the end"
            raise self._rejection(f"{error.msg} at {place}; {_RULE}") from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise self._rejection(
                f"the condition cannot be parsed ({str(error) or 'it is nested too deeply'}); {_RULE}"
            ) from None
        level: list[ast.AST] = [tree]
        for _ in range(MAX_LEVELS):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            raise self._rejection(f"the condition is nested more than {MAX_LEVELS} levels deep; simplify it")
        return tree

    def condition(self, node: ast.expr) -> None:
        """Check a node that must be true or false."""
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self.condition(part)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand)
        elif isinstance(node, ast.Compare):
            for left, relation, right in _pairs(node):
                self._comparison(left, relation, right)
        else:
            raise self._rejection(f"{self._quoted(node)} is not a comparison; {_RULE}")

    def _comparison(self, left: ast.expr, relation: ast.cmpop, right: ast.expr) -> None:
        if isinstance(relation, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
                raise self._rejection(f"{self._quoted(right)} is not a list of values; write, for example, ('a', 'b')")
            others = [(self._constant(value), value) for value in right.elts]
        elif isinstance(relation, ast.Is | ast.IsNot):
            raise self._rejection(f"'is' before {self._place(right)} is not supported; write == or !=")
        else:
            others = [(self._value(right), right)]
        kind = self._value(left)
        if isinstance(left, ast.Constant | ast.UnaryOp) and not isinstance(right, ast.Name):
            raise self._rejection(f"{self._quoted(left)} is not compared with a column; {_RULE}")
        for other, node in others:
            if other != kind:
                raise self._rejection(
                    f"{self._quoted(left)} is {_A[kind]} and {self._quoted(node)} is {_A[other]}; "
                    "compare numbers with numbers and text with text",
                    "analysis.filter_types",
                )
        if kind == "text" and type(relation) in _ORDER:
            raise self._rejection(
                f"{self._quoted(left)} is text, which has no order; use ==, !=, in or not in",
                "analysis.filter_types",
            )

    def _value(self, node: ast.expr) -> _Kind:
        """Return whether a column or constant holds a number or text."""
        if not isinstance(node, ast.Name):
            return self._constant(node)
        if node.id not in KINDS:
            raise self._rejection(
                f"unknown name '{node.id}' at {self._place(node)}; {_known(node.id, KINDS)}",
                "analysis.filter_unknown_column",
            )
        self.names.append(node.id)
        return KINDS[node.id]

    def _constant(self, node: ast.expr) -> _Kind:
        try:
            value = _constant(node)
        except (TypeError, OverflowError):
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise self._rejection(f"{self._quoted(node)} is not a column, a finite number or quoted text; {_RULE}")
        return "text" if isinstance(value, str) else "number"

    def _quoted(self, node: ast.expr) -> str:
        text = ast.get_source_segment(self._source, node) or ""
        return f"'{text if len(text) <= 40 else text[:37] + '...'}' at {self._place(node)}"

    def _place(self, node: ast.expr) -> str:
        return f"character {len(self._source.encode()[: node.col_offset].decode()) + 1}"

    def _rejection(self, message: str, code: str = "analysis.filter_syntax") -> ConfigError:
        return ConfigError(message, code=code, field=self._origin)


def _truth(node: ast.expr, trials: pd.DataFrame) -> _Truth:
    """Return for each trial whether a checked condition is true; missing where that is unknown."""
    if isinstance(node, ast.UnaryOp):
        return ~_truth(node.operand, trials)
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        parts = [_truth(part, trials) for part in node.values]
    else:
        assert isinstance(node, ast.Compare)
        join = operator.and_
        parts = [_compared(*pair, trials) for pair in _pairs(node)]
    return reduce(join, parts)


def _compared(left: ast.expr, relation: ast.cmpop, right: ast.expr, trials: pd.DataFrame) -> _Truth:
    if isinstance(relation, ast.In | ast.NotIn):
        assert isinstance(right, ast.Tuple | ast.List | ast.Set)
        anywhere = reduce(operator.or_, [_compared(left, ast.Eq(), value, trials) for value in right.elts])
        return anywhere if isinstance(relation, ast.In) else ~anywhere
    holds = _RELATIONS[type(relation)]
    operands = [_operand(node, trials) for node in (left, right)]
    unknown = np.logical_or.reduce([missing for _, missing in operands])
    values = np.broadcast_to(holds(*(value for value, _ in operands)), len(trials)).astype(np.bool_)
    return _Truth(values, np.broadcast_to(unknown, len(trials)).copy())


def _operand(node: ast.expr, trials: pd.DataFrame) -> tuple[Any, NDArray[np.bool_]]:
    """Return the values of a column or a constant, and where they are missing."""
    if not isinstance(node, ast.Name):
        return _constant(node), np.zeros(len(trials), dtype=np.bool_)
    column = trials[node.id]
    missing = column.isna().to_numpy(dtype=np.bool_)
    if KINDS[node.id] == "text":
        return column.to_numpy(dtype=object, na_value=""), missing
    return column.to_numpy(dtype=np.float64, na_value=math.nan), missing


def _constant(node: ast.expr) -> float | str:
    """Return the number or text of a constant.

    Raises:
        OverflowError: The number is too large.
        TypeError: The node is neither a number nor text.
    """
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        if isinstance(value, float):
            return -value if isinstance(node.op, ast.USub) else value
    elif isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        return float(node.value)  # type: ignore[arg-type]  # only int and float reach this line
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise TypeError(type(node).__name__)


def _pairs(node: ast.Compare) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """Yield the comparisons of a chain."""
    yield from zip((node.left, *node.comparators[:-1]), node.ops, node.comparators, strict=True)


def _known(name: str, names: Any) -> str:
    return nearest_names(name, map(str, names))
