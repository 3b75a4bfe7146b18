"""What the report says besides picks, front and trials, section by section: why, and whether to believe it."""

from __future__ import annotations

from collections import Counter

from nas_distill.analysis.confirm.summary import confirmations
from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import VERDICTS, Diagnosis
from nas_distill.analysis.formatting import short_count, signed
from nas_distill.analysis.law.api import LawError, fit_capacity_law, law_sentences
from nas_distill.report.content import ReportContent, rows
from nas_distill.report.sections.assistants import chain_section
from nas_distill.report.sections.confirmed import confirmed_sections
from nas_distill.report.sections.folds import fold_section
from nas_distill.report.sections.recipes import recipe_section
from nas_distill.report.sections.section import Section
from nas_distill.report.tables import student_text

VERDICT_COLUMNS = ("Trial", "Student", "Parameters", "Gap, points", "Verdict", "Because", "What to try")
_VERDICT_TEXTS = frozenset({"Student", "Verdict", "Because", "What to try"})
_VERDICT_NOTE = (
    "One verdict per student, by the first rule of the decision table that fires (docs/diagnosis.md). It goes by this "
    "run's students and one training each; `nas_distill explain RUN TRIAL` gives all of the evidence."
)


def finding_sections(content: ReportContent) -> tuple[Section, ...]:
    """Returns what was measured again, the verdicts, the capacity law, effects and losses, as far as there are any."""
    found = measured_again(content)
    if len(content.front.members):
        found += (_verdicts(content), _law(content), _effects(content))
    losses = recipe_section(content)
    return found if losses is None else (*found, losses)


def measured_again(content: ReportContent) -> tuple[Section, ...]:
    """Returns the sections on students that were trained again: by assistants, over folds, to be confirmed."""
    asked = (chain_section(content), fold_section(content))
    return (*(section for section in asked if section is not None), *confirmed(content))


def confirmed(content: ReportContent) -> tuple[Section, ...]:
    """Returns the sections on confirmed students; none before any training has ended."""
    found = confirmations(
        content.confirmations,
        content.trials,
        content.front.objectives,
        gap_tolerance_points=content.config.picks.gap_tolerance_points,
    )
    return confirmed_sections(found, content.teacher.class_names)


def verdicts(content: ReportContent) -> dict[int, Diagnosis]:
    """Returns the verdict on each student, by trial number."""
    images = sum(content.teacher.class_counts)
    found = diagnose(content.trials, content.curves, images=images, settings=content.config.diagnosis)
    return {one.number: one for one in found}


def _verdicts(content: ReportContent) -> Section:
    """Returns the verdicts on the students of the front, and how often each was given to the others."""
    found = verdicts(content)
    front = set(content.front.numbers)
    complete = {int(row["number"]) for row in rows(content.trials) if row["status"] == "complete"}
    others = Counter(one.verdict for number, one in found.items() if number in complete - front)
    counted = ", ".join(f"{others[verdict]} {verdict}" for verdict in VERDICTS if others[verdict])
    lines = []
    for row in rows(content.front.members):
        verdict = found[row["number"]]
        size, gap = short_count(row["num_params"]), signed(float(row["gap_points"]))
        cells = (str(row["number"]), student_text(row), size, gap)
        lines.append((*cells, verdict.verdict, verdict.evidence[0], verdict.remedy))
    return Section(
        title="Why the front's students stand where they do",
        lead=(f"Of the fully trained students that are not on the front: {counted}.",) if counted else (),
        columns=VERDICT_COLUMNS,
        lines=tuple(lines),
        texts=_VERDICT_TEXTS,
        notes=(_VERDICT_NOTE,),
    )


def _law(content: ReportContent) -> Section:
    """Returns what the law of parameters says, and what size it takes to be within the tolerance."""
    title = "What size it takes"
    try:
        law = fit_capacity_law(content.trials)
    except LawError as error:
        return Section(title=title, lead=(f"No capacity law: {error}.",))
    wanted = law.smallest_size(content.config.picks.gap_tolerance_points)
    return Section(title=title, lead=(wanted.sentence, *law_sentences(law)))


def _effects(content: ReportContent) -> Section:
    """Returns which parameters went with the gap at equal size."""
    from nas_distill.analysis.effects.effects import parameter_effects  # scikit-learn: a second that only this needs

    return Section(title="What went with the gap at equal size", lead=parameter_effects(content.trials).sentences)
