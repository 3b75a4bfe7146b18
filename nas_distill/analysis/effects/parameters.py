"""Tabulate what was chosen for each student: one column per parameter of architecture and recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nas_distill.analysis.effects.losses_by_size import terms_label
from nas_distill.analysis.trials.cells import parse_arguments, parse_recipe_fields

MIN_USED = 10
"""Fewest students that a parameter must apply to for its effect to be measured."""

_FEW = 12
_COLUMNS = ("family", "architecture", "arguments", "initial_weights", "recipe")


def parameter_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return one column per parameter that differs among the trials, and one row per trial, in their order.

    The columns are `family`, `architecture`, the arguments of the architecture (`arguments.depth`; items of a list by
    their index, `arguments.depths.0`), `initial_weights`, `loss` (see `terms_label`), the parameters of each loss
    (`losses.kd.temperature`), and the fields of the recipe (`learning_rate`, `adaptive.release`).

    Numbers are float64 columns; everything else, flags included, is text. A parameter that a trial does not have is
    missing there. If two columns are equivalent for all trials, only the first is kept. Columns of few values are
    equivalent if their values correspond one to one; columns of many numbers if their order is the same.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
    """
    rows = [dict(_parameters(*cells)) for cells in zip(*(trials[name] for name in _COLUMNS), strict=True)]
    table = pd.DataFrame.from_records(rows, index=trials.index)
    kept: dict[str, pd.Series[Any]] = {}
    seen: set[tuple[int, ...]] = set()
    for name in table.columns:
        column = _column(table[name])
        codes = tuple(pd.factorize(column, sort=column.nunique() > _FEW)[0].tolist())
        if column.nunique() > 1 and column.notna().sum() >= MIN_USED and codes not in seen:
            kept[str(name)] = column
            seen.add(codes)
    return pd.DataFrame(kept, index=trials.index)


def _parameters(
    family: Any, architecture: Any, arguments: Any, initial_weights: Any, recipe: Any
) -> Iterator[tuple[str, Any]]:
    yield from _flat("family", None if pd.isna(family) else family)
    yield from _flat("architecture", None if pd.isna(architecture) else architecture)
    yield from _flat("arguments", parse_arguments(arguments))
    yield from _flat("initial_weights", None if pd.isna(initial_weights) else initial_weights)
    if pd.isna(recipe):
        return
    fields = parse_recipe_fields(recipe)
    yield "loss", terms_label(fields.get("losses", {}))
    yield from _flat("", fields)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in items:
            yield from _flat(f"{name}.{key}" if name else str(key), part)
    elif value is not None:
        yield name, str(value) if isinstance(value, bool) else value


def _column(values: pd.Series[Any]) -> pd.Series[Any]:
    known = values.dropna()
    if all(isinstance(value, int | float) for value in known):
        return values.astype(np.float64)
    return values.map(str, na_action="ignore")
