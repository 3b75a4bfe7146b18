"""The columns of the report's tables: one list for the page, the text and the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan

from nas_distill.analysis.formatting import MISSING, duration, number_text, percent, signed
from nas_distill.objectives import OBJECTIVES
from nas_distill.report.content import ReportContent, Row, arguments_text, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table of trials.

    Attributes:
        key: Its source in the table of trials, and what it sorts by.
        title: Head, short, with the unit where the cells carry none.
        text: A row's cell as people read it.
        hint: What the number means, in one sentence.
        numeric: Whether cells are aligned and sorted as numbers.
    """

    key: str
    title: str
    text: Callable[[Row], str]
    hint: str = ""
    numeric: bool = True


def student_text(row: Row) -> str:
    """Returns a candidate as a call: "small_resnet(width=8)"; `MISSING` when it is not known."""
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


_NUMBER = Column(key="number", title="Trial", text=lambda row: str(row["number"]), hint="Optuna's number of the trial.")
_STUDENT = Column(
    key="architecture",
    title="Student",
    text=student_text,
    numeric=False,
    hint="timm architecture and arguments.",
)
_STATUS = Column(key="status", title="Status", text=lambda row: str(row["status"]), numeric=False)
_PARAMS = _objective("num_params", "Parameters", "Weights of the student.")
_RATIO = Column(
    key="capacity_ratio",
    title="Of teacher",
    text=_value("capacity_ratio", percent),
    hint="Student parameters as a share of the teacher's.",
)
_MACS = _objective("macs", "MACs", "Multiply-accumulates of one forward pass of one image.")
_SIZE = _objective("size_bytes", "Size", "Parameters and buffers at their stored precision.")
_GAP = _objective(
    "gap_points",
    "Gap, points",
    "Teacher top-1 minus student top-1, percentage points; negative where the student leads.",
)
_TOP1 = Column(
    key="top1",
    title="Top-1",
    text=_value("top1", lambda value: f"{100.0 * value:.2f} %"),
    hint="Accuracy on the validation images.",
)
_AGREEMENT = _objective("agreement", "Agreement", "Share of validation images with the teacher's prediction.")
_DIVERGENCE = _objective(
    "divergence_nats",
    "Divergence, nats",
    "Mean KL divergence of the student from the teacher at temperature 1.",
)
_NLL = _objective("nll_nats", "NLL, nats", "Mean negative log-likelihood of the labels.")
_GENERALISATION = Column(
    key="generalisation_gap_points",
    title="Train \N{MINUS SIGN} val., points",
    text=_value("generalisation_gap_points", signed),
    hint="Top-1 on a fixed training subset minus top-1 on validation; large means overfitting.",
)
_TAUGHT_BY = Column(
    key="assistant",
    title="Taught by",
    text=lambda row: "teacher" if isnan(row["assistant"]) else f"trial {row['assistant']:.0f}",
    hint="Whose answers it learnt from; its gap is always the one to the teacher.",
    numeric=False,
)
_EPOCHS = Column(key="epochs", title="Epochs", text=_epochs, hint="Epochs trained, of those planned.")
_TIME = Column(
    key="wall_time_s",
    title="Training",
    text=_value("wall_time_s", duration),
    hint="Training and evaluation time.",
)

TERMINAL_COLUMNS = (_NUMBER, _STUDENT, _PARAMS, _MACS, _GAP, _TOP1, _AGREEMENT)
FRONT_COLUMNS = (
    _NUMBER, _STUDENT, _PARAMS, _RATIO, _MACS, _SIZE, _GAP, _TOP1, _AGREEMENT, _DIVERGENCE, _GENERALISATION,
    _TIME,
)  # fmt: skip
TRIAL_COLUMNS = (
    _NUMBER, _STATUS, _STUDENT, _PARAMS, _MACS, _GAP, _TOP1, _AGREEMENT, _DIVERGENCE, _NLL, _GENERALISATION,
    _EPOCHS, _TIME,
)  # fmt: skip
_BY_KEY = {column.key: column for column in (*FRONT_COLUMNS, *TRIAL_COLUMNS)}


def with_objectives(columns: tuple[Column, ...], content: ReportContent) -> tuple[Column, ...]:
    """Returns the columns, followed by what this search has besides: objectives missing among them, and assistants."""
    keys = {column.key for column in columns}
    taught_by = (_TAUGHT_BY,) if content.trials["assistant"].notna().any() else ()
    return columns + tuple(_BY_KEY[one.name] for one in content.front.objectives if one.name not in keys) + taught_by


def front_table(content: ReportContent) -> tuple[dict[str, str], ...]:
    """Returns the Pareto front for a terminal: per student, cheapest first, cell texts by column title.

    Empty when no student has been fully trained. "Picked as" holds the titles of the rules that chose it.
    """
    columns = with_objectives(TERMINAL_COLUMNS, content)
    return tuple(
        {column.title: column.text(row) for column in columns} | {"Picked as": content.picked_as(row["number"])}
        for row in rows(content.front.members)
    )
