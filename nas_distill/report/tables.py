"""Columns of the tables of trials, shared by the page, the Markdown text and the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from nas_distill.analysis.formatting import MISSING, duration, number_text, percent, short_bytes, signed
from nas_distill.analysis.initial_weights import label_initial_weights
from nas_distill.objectives import OBJECTIVES
from nas_distill.records import RANDOM
from nas_distill.report.content import ReportContent, Row, arguments_text, rows

if TYPE_CHECKING:
    import pandas as pd


NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table of trials.

    Attributes:
        key: Name of the column in the table of trials; the table sorts by its values.
        title: Short heading, with the unit if the cells show none.
        text: Function that formats the cell of a row.
        hint: One sentence that explains the column.
        numeric: Whether cells are aligned and sorted as numbers.
    """

    key: str
    title: str
    text: Callable[[Row], str]
    hint: str = ""
    numeric: bool = True


def student_text(row: Row) -> str:
    """Return a candidate as a call: "small_resnet(width=8)"; `MISSING` if it is unknown."""
    return f"{row['architecture']}({arguments_text(row['arguments'])})" if row["architecture"] else MISSING


def _value(key: str, text: Callable[[float], str]) -> Callable[[Row], str]:
    return lambda row: MISSING if isnan(row[key]) else text(float(row[key]))


def _objective(key: str, title: str, hint: str) -> Column:
    objective = OBJECTIVES[key]
    return Column(key=key, title=title, hint=hint, text=_value(key, lambda value: number_text(objective, value)))


def _epochs(row: Row) -> str:
    if isnan(row["epochs"]):
        return MISSING
    return f"{row['epochs']:.0f} / {row['planned_epochs']:.0f}"


_NUMBER = Column(
    key="number", title="Trial", text=lambda row: str(row["number"]), hint="Number of the trial in the Optuna study."
)
_STUDENT = Column(
    key="architecture",
    title="Student",
    text=student_text,
    numeric=False,
    hint="Architecture and its arguments.",
)
_STATUS = Column(key="status", title="Status", text=lambda row: str(row["status"]), numeric=False)
_PARAMS = _objective("num_params", "Parameters", "Number of parameters.")
_RATIO = Column(
    key="capacity_ratio",
    title="Of teacher",
    text=_value("capacity_ratio", percent),
    hint="Number of parameters relative to the teacher.",
)
_MACS = _objective("macs", "MACs", "Multiply-accumulates per image.")
_SIZE = _objective("size_bytes", "Size", "Bytes of parameters and buffers at their stored precision.")
_GAP = _objective(
    "gap_points",
    "Gap, points",
    "Top-1 of the teacher minus top-1 of the student, percentage points.",
)
_TOP1 = Column(
    key="top1",
    title="Top-1",
    text=_value("top1", lambda value: f"{100.0 * value:.2f} %"),
    hint="Top-1 accuracy on the validation images.",
)


def _with_range(key: str, range_key: str) -> Callable[[Row], str]:
    """Return a function that formats a measured value with its interquartile range, if that is known."""

    def text(row: Row) -> str:
        if isnan(row[key]):
            return NOT_MEASURED
        iqr = row[range_key]
        return f"{_short(row[key])}{'' if isnan(iqr) else f' (IQR {_short(iqr, digits=2)})'}"

    return text


def _short(value: float, digits: int = 3) -> str:
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.{digits}g}"


_LATENCY = Column(
    key="latency_ms",
    title="Latency, ms",
    text=_with_range("latency_ms", "latency_iqr_ms"),
    hint="Milliseconds per image on the target: median, and interquartile range over rounds.",
)
_THROUGHPUT = Column(
    key="throughput_per_s",
    title="Images / s",
    text=_with_range("throughput_per_s", "throughput_iqr_per_s"),
    hint="Images per second on the target in batches: from the median time, and interquartile range over rounds.",
)
_MEMORY = _objective(
    "peak_memory_bytes",
    "Peak memory",
    "Parameters, buffers and the most activations at one time for one image, float32.",
)
_FP16 = Column(
    key="size_fp16_bytes",
    title="Size, fp16",
    text=_value("size_fp16_bytes", short_bytes),
    hint="Bytes of parameters and buffers as float16.",
)
_INT8 = Column(
    key="size_int8_bytes",
    title="Size, int8",
    text=_value("size_int8_bytes", short_bytes),
    hint="Estimated bytes after static quantisation: int8 weights with one scale per channel, the rest as stored.",
)
_AGREEMENT = _objective(
    "agreement", "Agreement", "Share of validation images on which student and teacher predict the same class."
)
_DIVERGENCE = _objective(
    "divergence_nats",
    "Divergence, nats",
    "Mean KL divergence of the student from the teacher, temperature 1, validation images.",
)
_NLL = _objective("nll_nats", "NLL, nats", "Mean negative log-likelihood of the labels, validation images.")
_ECE = Column(
    key="ece",
    title="ECE",
    text=_value("ece", lambda value: f"{value:.3f}"),
    hint="Expected calibration error, validation images: how far probabilities are from accuracies; 0 is best.",
)
_GENERALISATION = Column(
    key="generalisation_gap_points",
    title="Train \N{MINUS SIGN} val., points",
    text=_value("generalisation_gap_points", signed),
    hint="Top-1 on a subset of the training images minus top-1 on the validation images; large means overfitting.",
)
_TEACHER = Column(
    key="assistant",
    title="Distilled from",
    text=lambda row: "teacher" if isnan(row["assistant"]) else f"trial {row['assistant']:.0f}",
    hint="Network that the student imitates: the teacher, or an assistant. Gaps are always to the teacher.",
    numeric=False,
)
_START = Column(
    key="initial_weights",
    title="Starts from",
    text=lambda row: label_initial_weights(row["initial_weights"]) if row["initial_weights"] else MISSING,
    hint="Weights that training started from; teacher: cut from the teacher's.",
    numeric=False,
)
_EPOCHS = Column(key="epochs", title="Epochs", text=_epochs, hint="Epochs trained / epochs planned.")
_TIME = Column(
    key="wall_time_s",
    title="Training",
    text=_value("wall_time_s", duration),
    hint="Wall time of training and evaluation.",
)

_INT8_GAP = _objective(
    "int8_gap_points", "Gap in int8, points", "Gap after static quantisation, measured by `nas_distill quantise`."
)
_INT8_FILE = Column(
    key="int8_size_bytes",
    title="int8 file",
    text=_value("int8_size_bytes", short_bytes),
    hint="Size of the int8 ONNX file.",
)
_INT8_LATENCY = Column(
    key="int8_latency_ms",
    title="int8 latency, ms",
    text=_value("int8_latency_ms", lambda value: f"{value:.3g}"),
    hint="Milliseconds per image of the int8 ONNX file on one CPU thread.",
)
INT8_COLUMNS = (_INT8_GAP, _INT8_FILE, _INT8_LATENCY)
_ON_CARDS = (_FP16, _INT8, _LATENCY, _THROUGHPUT, *INT8_COLUMNS)
TERMINAL_COLUMNS = (_NUMBER, _STUDENT, _PARAMS, _MACS, _GAP, _TOP1, _AGREEMENT)
FRONT_COLUMNS = (
    _NUMBER, _STUDENT, _PARAMS, _RATIO, _MACS, _SIZE, _MEMORY, _GAP, _TOP1, _NLL, _ECE, _AGREEMENT,
    _DIVERGENCE, _GENERALISATION, _TIME,
)  # fmt: skip
TRIAL_COLUMNS = (
    _NUMBER, _STATUS, _STUDENT, _PARAMS, _MACS, _GAP, _TOP1, _AGREEMENT, _DIVERGENCE, _NLL, _ECE,
    _GENERALISATION, _EPOCHS, _TIME,
)  # fmt: skip
_COLUMNS = {column.key: column for column in (*FRONT_COLUMNS, *TRIAL_COLUMNS, *_ON_CARDS, _START)}


def column_of(key: str) -> Column:
    """Return the column with a key, such as that of an objective, which may be a registered one."""
    if key in _COLUMNS:
        return _COLUMNS[key]
    objective = OBJECTIVES[key]
    return _objective(key, f"{objective.label}{f', {objective.unit}' if objective.unit else ''}", "")


def with_objectives(columns: tuple[Column, ...], content: ReportContent) -> tuple[Column, ...]:
    """Return the columns, then what is missing among them: measured costs, objectives, initial weights, the teacher.

    Costs on the target are shown if a student was measured, initial weights if a student does not start from random
    ones, teachers if a student has an assistant.
    """
    measured = tuple(one for one in (_LATENCY, _THROUGHPUT) if content.trials[one.key].notna().any())
    place = columns.index(_MACS) + 1
    columns = (*columns[:place], *measured, *columns[place:])
    keys = {column.key for column in columns}
    starts = (_START,) if has_initial_weights(content.trials) else ()
    assistants = (_TEACHER,) if content.trials["assistant"].notna().any() else ()
    objectives = tuple(column_of(one.name) for one in content.front.objectives if one.name not in keys)
    return (*columns, *objectives, *starts, *assistants)


def has_initial_weights(trials: pd.DataFrame) -> bool:
    """Return whether a student of a table of trials starts from other weights than random ones."""
    return bool((trials["initial_weights"].fillna(RANDOM) != RANDOM).any())


def front_table(content: ReportContent) -> tuple[dict[str, str], ...]:
    """Return the Pareto front for a terminal, cheapest student first: cell texts by column title.

    Empty if no student is fully trained. "Picked as" holds the titles of the rules that picked the student.
    """
    columns = with_objectives(TERMINAL_COLUMNS, content)
    return tuple(
        {column.title: column.text(row) for column in columns} | {"Picked as": content.picked_as(row["number"])}
        for row in rows(content.front.members)
    )
