"""What the report says of teacher assistants: who taught whom, what that gained, and how far to trust it."""

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
    "Taught by the teacher: trial",
    "Gap, points",
    "Taught by",
    "Trial",
    "Gap to the teacher, points",
    "Gain, points",
)

_ARROW = "\N{RIGHTWARDS ARROW}"
_SAMPLE = (
    "Gains are the gap when the teacher taught minus the gap when the assistant did, both to the same teacher, with "
    "the same recipe, seed and epochs. Their 95 % intervals come from the validation sample alone and take the two "
    "accuracies as independent, since answers per image are not kept: rather too wide for that sample, but blind to "
    "the chance in training, which is one run each."
)
_CHOSEN = (
    "The students were chosen for their large gaps, which favours a second training a little; retrain both with "
    "several seeds before relying on a small gain."
)


def chain_section(content: ReportContent) -> Section | None:
    """Returns what there is to say; None when no assistants were asked for."""
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
        notes = ["Assistants are chosen when the search's own trials have ended: go on with search --resume."]
    return Section(
        title="Teacher assistants",
        caption="Each student twice: distilled from the teacher, and from an assistant",
        columns=CHAIN_COLUMNS,
        texts=frozenset({"Student"}),
        lead=tuple(_chain(content, found, index) for index in range(len(plan.rounds))),
        lines=tuple(_line(found, one) for one in students),
        notes=tuple(notes),
    )


def _chain(content: ReportContent, found: dict[int, Row], index: int) -> str:
    """Returns the way from the teacher to the students of one round's assistant."""
    teacher = content.teacher
    size = short_count(teacher.cost.num_params)
    parts = [f"teacher {teacher.architecture} ({size} parameters, top-1 {100.0 * teacher.top1:.2f} %)"]
    last = content.assistants.rounds[index]
    parts += [
        f"trial {number}" + (f" ({_size_and_top1(found[number])})" if number in found else "")
        for number in _way_to(last.assistant, found)
    ]
    numbers = [number for number, row in found.items() if row["assistant"] == last.assistant]
    missing = len(last.students) - len(numbers)
    parts.append(
        (f"trial{'s' if len(numbers) > 1 else ''} {', '.join(str(number) for number in numbers)}" if numbers else "")
        + (" and " if numbers and missing else "")
        + (f"{missing} to come" if missing else "")
    )
    return f" {_ARROW} ".join(parts)


def _way_to(number: int, found: dict[int, Row]) -> tuple[int, ...]:
    """Returns the trials on the way from the teacher to one of them, which comes last."""
    row = found.get(number)
    if row is None or isnan(row["assistant"]):
        return (number,)
    return (*_way_to(int(row["assistant"]), found), number)


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
    """Returns a sentence per assistant: a student that two of them taught counts once with each."""
    assistants = dict.fromkeys(one.assistant for one in students)
    return [_mean(number, tuple(one for one in students if one.assistant == number)) for number in assistants]


def _mean(assistant: int, students: tuple[AssistedStudent, ...]) -> str:
    """Returns the mean gain by an assistant as a sentence, and what its interval says."""
    gain = mean_gain(students)
    if gain is None:
        return f"No training by trial {assistant} ended well, so that there is no gain to tell."
    if gain.half_width is None:
        (one,) = (student.gain for student in students if student.gain is not None)
        assert one.half_width is not None
        worth = "more" if abs(one.mean) > one.half_width else "no more"
        return (
            f"Gain of the one student that trial {assistant} taught: {_gain(one)} points, {worth} than chance in the "
            "validation images explains; one training each says nothing of the chance in training."
        )
    count = sum(student.gain is not None for student in students)
    said = f"Mean gain of the {count} students that trial {assistant} taught: {_gain(gain)} points"
    return f"{said} (95 % t interval over the students). {_verdict(gain)}"


def _verdict(gain: Estimate) -> str:
    assert gain.half_width is not None
    if abs(gain.mean) <= gain.half_width:
        return "The interval contains 0: these trainings show neither that the assistant helped nor that it harmed."
    return f"The interval does not contain 0: the assistant {'helped' if gain.mean > 0 else 'harmed'} here."


def _gain(gain: Estimate) -> str:
    return f"{signed(gain.mean)} \N{PLUS-MINUS SIGN} {gain.half_width or 0.0:.2f}"
