"""The section on teacher assistants: the chains, the gain of each student, and its uncertainty."""

from __future__ import annotations

from math import isnan

from nas_distill.analysis.assistants.gain import AssistedStudent, assisted_students, mean_gain
from nas_distill.analysis.formatting import MISSING, short_count, signed
from nas_distill.analysis.stats import Estimate
from nas_distill.report.content import ReportContent, Row, rows
from nas_distill.report.sections.section import Section
from nas_distill.report.tables import student_text

CHAIN_COLUMNS = (
    "Student",
    "Parameters",
    "Trial with the teacher",
    "Gap, points",
    "Assistant",
    "Trial with the assistant",
    "Gap to the teacher, points",
    "Gain, points",
)

_ARROW = "\N{RIGHTWARDS ARROW}"
_SAMPLE = (
    "Gain: gap of the student distilled from the teacher minus gap of the student distilled from the assistant, with "
    "the same recipe, seed and epochs. The 95 % interval covers only the sampling of validation images, and treats the "
    "two accuracies as independent. It does not cover the randomness of training: each gain is one training."
)
_CHOSEN = (
    "The students were chosen for their large gaps, which slightly favours the second training. Retrain both with "
    "several seeds before you rely on a small gain."
)


def chain_section(content: ReportContent) -> Section | None:
    """Return the section; None if the search uses no assistants."""
    plan = content.assistants
    if content.config.assistants.count == 0 and not plan.rounds:
        return None
    found = {int(row["number"]): row for row in rows(content.trials)}
    students = assisted_students(content.trials, images=content.data.num_validation)
    notes = [round_.reason for round_ in plan.rounds]
    notes += [plan.stop_reason] if plan.stop_reason else []
    notes += _means(students)
    notes += [_SAMPLE, _CHOSEN] if students else []
    if not notes:
        notes = ["Assistants are chosen after all trials of the search: continue with `search --resume`."]
    return Section(
        title="Teacher assistants",
        caption="Each student twice: distilled from the teacher and from an assistant",
        columns=CHAIN_COLUMNS,
        texts=frozenset({"Student"}),
        lead=tuple(_chain(content, found, index) for index in range(len(plan.rounds))),
        lines=tuple(_line(found, one) for one in students),
        notes=tuple(notes),
    )


def _chain(content: ReportContent, found: dict[int, Row], index: int) -> str:
    """Return the chain from the teacher to the students of the assistant of one round."""
    teacher = content.teacher
    size = short_count(teacher.cost.num_params)
    parts = [f"teacher {teacher.architecture} ({size} parameters, top-1 {100.0 * teacher.top1:.2f} %)"]
    last = content.assistants.rounds[index]
    parts += [
        f"trial {number}" + (f" ({_size_and_top1(found[number])})" if number in found else "")
        for number in _chain_to(last.assistant, found)
    ]
    numbers = [number for number, row in found.items() if row["assistant"] == last.assistant]
    missing = len(last.students) - len(numbers)
    parts.append(
        (f"trial{'s' if len(numbers) > 1 else ''} {', '.join(str(number) for number in numbers)}" if numbers else "")
        + (" and " if numbers and missing else "")
        + (f"{missing} not started" if missing else "")
    )
    return f" {_ARROW} ".join(parts)


def _chain_to(number: int, found: dict[int, Row]) -> tuple[int, ...]:
    """Return the chain of trials from the teacher to a trial, which comes last."""
    row = found.get(number)
    if row is None or isnan(row["assistant"]):
        return (number,)
    return (*_chain_to(int(row["assistant"]), found), number)


def _size_and_top1(row: Row) -> str:
    return f"{short_count(float(row['num_params']))} parameters, top-1 {100.0 * float(row['top1']):.2f} %"


def _line(found: dict[int, Row], one: AssistedStudent) -> tuple[str, ...]:
    row = found[one.direct]
    return (
        student_text(row),
        short_count(float(row["num_params"])),
        str(one.direct),
        signed(one.direct_gap_points),
        f"trial {one.assistant}",
        str(one.number),
        MISSING if one.gap_points is None else signed(one.gap_points),
        MISSING if one.gain is None else _gain(one.gain),
    )


def _means(students: tuple[AssistedStudent, ...]) -> list[str]:
    """Return one sentence per assistant. A student with two assistants counts for both."""
    assistants = dict.fromkeys(one.assistant for one in students)
    return [_mean(number, tuple(one for one in students if one.assistant == number)) for number in assistants]


def _mean(assistant: int, students: tuple[AssistedStudent, ...]) -> str:
    """Return the mean gain of an assistant's students and the conclusion from its interval."""
    gain = mean_gain(students)
    if gain is None:
        return f"No training with assistant {assistant} completed, so its gain is unknown."
    if gain.half_width is None:
        (one,) = (student.gain for student in students if student.gain is not None)
        assert one.half_width is not None
        worth = "more" if abs(one.mean) > one.half_width else "not more"
        return (
            f"Gain of the only student of assistant {assistant}: {_gain(one)} points, {worth} than the sampling of "
            "validation images explains. The randomness of training is unknown: it is one training each."
        )
    count = sum(student.gain is not None for student in students)
    mean = f"Mean gain of the {count} students of assistant {assistant}: {_gain(gain)} points"
    return f"{mean} (95 % t interval over the students). {_conclusion(gain)}"


def _conclusion(gain: Estimate) -> str:
    assert gain.half_width is not None
    if abs(gain.mean) <= gain.half_width:
        return "The interval contains 0, so the effect of the assistant is undecided."
    return f"The interval does not contain 0: the assistant {'helped' if gain.mean > 0 else 'harmed'} these students."


def _gain(gain: Estimate) -> str:
    return f"{signed(gain.mean)} \N{PLUS-MINUS SIGN} {gain.half_width or 0.0:.2f}"
