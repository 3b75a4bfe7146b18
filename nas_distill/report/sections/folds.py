"""What the report says of cross-validation: one table, its failures, and how far to trust it."""

from __future__ import annotations

from collections.abc import Callable

from nas_distill.analysis.confirm.folds import FoldScore, fold_scores
from nas_distill.analysis.formatting import MISSING, signed
from nas_distill.analysis.stats import Estimate
from nas_distill.report.content import ReportContent, Row, rows
from nas_distill.report.sections.section import Section

FOLD_COLUMNS = (
    "Trial",
    "Picked as",
    "Folds scored",
    "Top-1 over folds",
    "Gap over folds, points",
    "Top-1 in the search",
    "Gap in the search, points",
)

_CAPTION = "Mean and 95 % t interval over the folds, beside the score on the validation images in the search"
_INDIRECT = "Its answers to the other images may carry what it learnt from those of the fold: students may profit, too."
ROUGH_INTERVAL = (
    "Folds share training images, so the interval is a rough one, rather too narrow (Bengio and Grandvalet 2004: the "
    "variance of K-fold cross-validation has no unbiased estimator)."
)


def fold_section(content: ReportContent) -> Section | None:
    """Returns what there is to say; None when no cross-validation was asked for."""
    count = content.config.picks.folds
    if count == 0:
        return None
    title = f"Cross-validation, {count} folds"
    scores = fold_scores(content.folds, (pick.number for pick in content.picks if pick.number is not None), count)
    if not scores:
        return Section(title=title, notes=("No student was picked, so there is none to score.",))
    found = {int(row["number"]): row for row in rows(content.front.members)}
    return Section(
        title=title,
        caption=_CAPTION,
        columns=FOLD_COLUMNS,
        texts=frozenset({"Picked as"}),
        lines=tuple(_line(content, score, found[score.number]) for score in scores),
        failures=tuple(
            f"trial {score.number}, fold {number + 1} of {count}: {reason}"
            for score in scores
            for number, reason in score.failures
        ),
        notes=_notes(content, scores),
    )


def exposure(content: ReportContent) -> str:
    """Returns what the teacher saw of the folds, as a sentence."""
    trained_on = content.teacher.trained_on_data_id
    if trained_on == content.data.data_id:
        return (
            "The teacher was trained on the images of every fold: its own accuracy there flatters it, and the gaps are "
            "upper bounds."
        )
    known = "" if trained_on is None else "was trained on other data or splits and "
    return (
        f"The teacher {known}may have seen the images of the folds: then its own accuracy there flatters it, and the "
        "gaps are upper bounds."
    )


def _notes(content: ReportContent, scores: tuple[FoldScore, ...]) -> tuple[str, ...]:
    count = content.config.picks.folds
    method = (
        f"Each picked student was trained {count} times with its trial's recipe, on {count - 1} of {count} parts of "
        "the training images, and scored on the part left out. Mean and 95 % t interval over the folds."
    )
    notes = [method, exposure(content), _INDIRECT, ROUGH_INTERVAL]
    if any(score.has_assistant for score in scores):
        notes.append("A student taught by an assistant learnt from one that was trained on the images of every fold.")
    if any(score.stopped_early for score in scores):
        notes.append("The recipe keeps the best epoch, which was chosen on the fold itself: that flatters the student.")
    missing = sum(score.missing for score in scores)
    if missing:
        notes.append(f"{missing} of {count * len(scores)} trainings have not ended: go on with search --resume.")
    return tuple(notes)


def _line(content: ReportContent, score: FoldScore, row: Row) -> tuple[str, ...]:
    failed = f", {len(score.failures)} failed" if score.failures else ""
    return (
        str(score.number),
        content.picked_as(score.number),
        f"{score.scored} of {score.of}{failed}",
        _text(score.top1, _percent, scale=100.0),
        _text(score.gap_points, signed),
        _percent(100.0 * float(row["top1"])),
        signed(float(row["gap_points"])),
    )


def _text(found: Estimate | None, text: Callable[[float], str], *, scale: float = 1.0) -> str:
    """Returns mean and half the interval, such as "93.20 % \N{PLUS-MINUS SIGN} 3.10"."""
    if found is None:
        return MISSING
    spread = "" if found.half_width is None else f" \N{PLUS-MINUS SIGN} {scale * found.half_width:.2f}"
    return f"{text(scale * found.mean)}{spread}"


def _percent(value: float) -> str:
    return f"{value:.2f} %"
