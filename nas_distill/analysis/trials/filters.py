"""Conditions on trials, as people write them: "gap_points < 1 and family == 'resnet'". Read, never executed."""

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

MOST_CHARACTERS = 2000
MOST_LEVELS = 40
"""Conditions within conditions; far below where Python's own recursion ends."""

KINDS: Mapping[str, Literal["number", "text"]] = {
    name: "text" if kind == "string" else "number" for name, kind in COLUMNS.items() if not kind.startswith("datetime")
}
"""The columns that a filter may name, and what they hold."""

_HOW_TO_RECORD = {
    "latency_ms": "a search with --max-latency-ms measures it",
    "assistant": "a search with --assistants has such students",
    "error": "no trial among them failed",
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
    """A condition on trials; made by `parse_filter`.

    Attributes:
        text: As it was written.
        names: The columns that it asks about, in the order of the text.
        origin: What to call it in an error, such as "--where".
    """

    text: str
    names: tuple[str, ...]
    origin: str
    _condition: ast.expr

    def mask(self, trials: pd.DataFrame) -> NDArray[np.bool_]:
        """Marks the trials for which the condition is known to hold.

        A comparison with a missing value is neither true nor false, and so is its negation (Kleene's three-valued
        logic, as SQL's WHERE): "not gap_points > 2" does not match a trial without a gap.

        Args:
            trials: Table with columns as in `rows.COLUMNS`, N rows.

        Returns:
            Mask [N].

        Raises:
            ConfigError: A column is missing, or not one of its values is recorded.
        """
        for name in self.names:
            if name not in trials:
                raise ConfigError(f"{self.origin}: the table has no column '{name}'; {_known(name, trials.columns)}")
            if len(trials) and trials[name].isna().all():
                way_out = _HOW_TO_RECORD.get(name, "the run's records are from before it was, or it was not asked for")
                raise ConfigError(
                    f"{self.origin}: '{name}' is recorded for none of the {len(trials)} trials; {way_out}"
                )
        return _truth(self._condition, trials).to_numpy(dtype=np.bool_, na_value=False)


def parse_filter(text: str, *, origin: str = "--where") -> Filter:
    """Returns the condition in `text`; a subset of Python's expressions, of which nothing is ever executed.

    Args:
        text: At most `MOST_CHARACTERS`, such as "latency_ms < 3 and 1e4 < num_params <= 1e5" or
            "family in ('resnet', 'vit')".
        origin: What to call it in an error.

    Raises:
        ConfigError: It is no such condition, names an unknown column, or compares text with a number.
    """
    if not text.strip():
        raise ConfigError(f"{origin}: is empty; {_RULE}")
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"{origin}: has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read")
    source = " ".join(text.splitlines()).strip()
    checker = _Checker(source, origin)
    condition = checker.parsed()
    checker.condition(condition)
    return Filter(text=source, names=tuple(dict.fromkeys(checker.names)), origin=origin, _condition=condition)


class _Checker:
    """Refuses what is no filter, with its place in the text."""

    def __init__(self, source: str, origin: str) -> None:
        self.names: list[str] = []
        self._source = source
        self._origin = origin

    def parsed(self) -> ast.expr:
        """Returns the syntax tree, which is shallow enough to walk."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns of "1and", which is clear enough
                tree = ast.parse(self._source, mode="eval").body
        except SyntaxError as error:
            place = f"character {error.offset}" if error.lineno == 1 and error.offset else "the end"
            raise self._rejection(f"{error.msg} at {place}; {_RULE}") from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise self._rejection(f"cannot be read ({str(error) or 'it is nested too deeply'}); {_RULE}") from None
        level: list[ast.AST] = [tree]
        for _ in range(MOST_LEVELS):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            raise self._rejection(f"is nested more than {MOST_LEVELS} levels deep; write a simpler condition")
        return tree

    def condition(self, node: ast.expr) -> None:
        """Checks what must be true or false."""
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self.condition(part)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand)
        elif isinstance(node, ast.Compare):
            for left, relation, right in _pairs(node):
                self._comparison(left, relation, right)
        else:
            raise self._rejection(f"{self._quoted(node)} is no comparison; {_RULE}")

    def _comparison(self, left: ast.expr, relation: ast.cmpop, right: ast.expr) -> None:
        if isinstance(relation, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
                raise self._rejection(f"{self._quoted(right)} is no list of values; write, for example, ('a', 'b')")
            others = [(self._constant(value), value) for value in right.elts]
        elif isinstance(relation, ast.Is | ast.IsNot):
            raise self._rejection(f"'is' at {self._place(right)} compares nothing; write == or !=")
        else:
            others = [(self._value(right), right)]
        kind = self._value(left)
        if isinstance(left, ast.Constant | ast.UnaryOp) and not isinstance(right, ast.Name):
            raise self._rejection(f"{self._quoted(left)} is compared with no column; {_RULE}")
        for other, node in others:
            if other != kind:
                raise self._rejection(
                    f"{self._quoted(left)} is {_A[kind]} and {self._quoted(node)} is {_A[other]}; "
                    "compare like with like"
                )
        if kind == "text" and type(relation) in _ORDER:
            raise self._rejection(
                f"{self._quoted(left)} is text, which has no order; compare it by ==, !=, in or not in"
            )

    def _value(self, node: ast.expr) -> _Kind:
        """Returns what a column or constant holds."""
        if not isinstance(node, ast.Name):
            return self._constant(node)
        if node.id not in KINDS:
            raise self._rejection(f"unknown name '{node.id}' at {self._place(node)}; {_known(node.id, KINDS)}")
        self.names.append(node.id)
        return KINDS[node.id]

    def _constant(self, node: ast.expr) -> _Kind:
        try:
            value = _constant(node)
        except (TypeError, OverflowError):
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise self._rejection(f"{self._quoted(node)} is no column, finite number or quoted text; {_RULE}")
        return "text" if isinstance(value, str) else "number"

    def _quoted(self, node: ast.expr) -> str:
        text = ast.get_source_segment(self._source, node) or ""
        return f"'{text if len(text) <= 40 else text[:37] + '...'}' at {self._place(node)}"

    def _place(self, node: ast.expr) -> str:
        return f"character {len(self._source.encode()[: node.col_offset].decode()) + 1}"

    def _rejection(self, message: str) -> ConfigError:
        return ConfigError(f"{self._origin}: {message}")


def _truth(node: ast.expr, trials: pd.DataFrame) -> _Truth:
    """Returns, per trial, whether a checked condition holds; missing where that is not known."""
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
    """Returns values of a column, or of a constant, and where they are missing."""
    if not isinstance(node, ast.Name):
        return _constant(node), np.zeros(len(trials), dtype=np.bool_)
    column = trials[node.id]
    missing = column.isna().to_numpy(dtype=np.bool_)
    if KINDS[node.id] == "text":
        return column.to_numpy(dtype=object, na_value=""), missing
    return column.to_numpy(dtype=np.float64, na_value=math.nan), missing


def _constant(node: ast.expr) -> float | str:
    """Returns a number or text.

    Raises:
        OverflowError: The number is too large.
        TypeError: It is neither.
    """
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        if isinstance(value, float):
            return -value if isinstance(node.op, ast.USub) else value
    elif isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        return float(node.value)  # type: ignore[arg-type]  # int and float alone come here
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise TypeError(type(node).__name__)


def _pairs(node: ast.Compare) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """Yields the comparisons of a chain."""
    yield from zip((node.left, *node.comparators[:-1]), node.ops, node.comparators, strict=True)


def _known(name: str, names: Any) -> str:
    return nearest_names(name, map(str, names))
