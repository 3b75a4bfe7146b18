"""The sections between the front and the learning curves: retrained students, diagnosis, capacity law and effects."""

from __future__ import annotations

from collections import Counter

from nas_distill.analysis.confirm.summary import confirmations
from nas_distill.analysis.diagnosis.verdicts import VERDICTS
from nas_distill.analysis.formatting import short_count, signed
from nas_distill.analysis.law.api import LawError, fit_capacity_law, law_sentences
from nas_distill.report.content import ReportContent, rows
from nas_distill.report.sections.assistants import chain_section
from nas_distill.report.sections.confirmed import confirmed_sections
from nas_distill.report.sections.folds import fold_section
from nas_distill.report.sections.recipes import recipe_section
from nas_distill.report.sections.section import Section
from nas_distill.report.tables import student_text

DIAGNOSIS_COLUMNS = ("Trial", "Student", "Parameters", "Gap, points", "Diagnosis", "What to do", "Evidence")
_DIAGNOSIS_TEXTS = frozenset({"Student", "Diagnosis", "What to do", "Evidence"})
_DIAGNOSIS_NOTE = (
    "Each student gets one diagnosis: that of the first rule that applies. It is based on one training per student of "
    "this run. `nas_distill explain RUN TRIAL` prints all evidence."
)


def finding_sections(content: ReportContent) -> tuple[Section, ...]:
    """Return the sections on retrained students, the diagnosis, the capacity law, effects and losses, if any."""
    found = retrained_students(content)
    if len(content.front.members):
        found += (_diagnosis(content), _law(content), _effects(content))
    losses = recipe_section(content)
    return found if losses is None else (*found, losses)


def retrained_students(content: ReportContent) -> tuple[Section, ...]:
    """Return the sections on students that were retrained: with assistants, on folds, or by `confirm`."""
    sections = (chain_section(content), fold_section(content))
    return (*(section for section in sections if section is not None), *confirmed_students(content))


def confirmed_students(content: ReportContent) -> tuple[Section, ...]:
    """Return the sections on confirmed students; empty before the first training has ended."""
    found = confirmations(
        content.confirmations,
        content.trials,
        content.front.objectives,
        gap_tolerance_points=content.config.picks.gap_tolerance_points,
    )
    return confirmed_sections(found, content.teacher.class_names)


def _diagnosis(content: ReportContent) -> Section:
    """Return the diagnoses of the students on the front, and the number of each for the others."""
    found = {one.number: one for one in content.decision.verdicts}
    front = set(content.front.numbers)
    complete = {int(row["number"]) for row in rows(content.trials) if row["status"] == "complete"}
    others = Counter(one.verdict for number, one in found.items() if number in complete - front)
    counted = ", ".join(f"{others[verdict]} {verdict}" for verdict in VERDICTS if others[verdict])
    lines = []
    for row in rows(content.front.members):
        verdict = found[row["number"]]
        size, gap = short_count(row["num_params"]), signed(float(row["gap_points"]))
        cells = (str(row["number"]), student_text(row), size, gap)
        lines.append((*cells, verdict.verdict, verdict.remedy.sentence, verdict.evidence[0]))
    return Section(
        title="Diagnosis of the front",
        lead=(f"Fully trained students that are not on the front: {counted}.",) if counted else (),
        columns=DIAGNOSIS_COLUMNS,
        lines=tuple(lines),
        texts=_DIAGNOSIS_TEXTS,
        notes=(_DIAGNOSIS_NOTE,),
    )


def _law(content: ReportContent) -> Section:
    """Return the size that the gap tolerance requires, according to the capacity law, and the law itself."""
    title = "Required size"
    try:
        law = fit_capacity_law(content.trials)
    except LawError as error:
        return Section(title=title, lead=(f"No capacity law: {error}.",))
    wanted = law.smallest_size(content.config.picks.gap_tolerance_points)
    return Section(title=title, lead=(wanted.sentence, *law_sentences(law)))


def _effects(content: ReportContent) -> Section:
    """Return the parameters that correlate with the gap among students of equal size."""
    from nas_distill.analysis.effects.effects import parameter_effects  # imports scikit-learn, which takes a second

    return Section(
        title="Parameters associated with the gap at equal size", lead=parameter_effects(content.trials).sentences
    )
