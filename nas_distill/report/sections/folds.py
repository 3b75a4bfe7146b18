"""The section on the cross-validation of the picks: scores, failures and limits."""

from __future__ import annotations

from collections.abc import Callable

from nas_distill.analysis.confirm.folds import FoldScore, fold_scores
from nas_distill.analysis.formatting import MISSING, signed
from nas_distill.analysis.stats import Estimate
from nas_distill.records import PRETRAINED, RANDOM
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

_CAPTION = "Mean and 95 % t interval over the folds, next to the score of the search on the validation images"
_INDIRECT = (
    "Its outputs for the training images of a fold may also reveal what it learned from the images left out, which "
    "favours the students."
)
ROUGH_INTERVAL = (
    "Folds share training images, so this interval is approximate and tends to be too narrow: the variance of K-fold "
    "cross-validation has no unbiased estimator (Bengio and Grandvalet 2004)."
)

STARTS_EXPOSED = (
    "The networks whose weights students start from may have been trained on the images of every fold, as the teacher "
    "was. Then the scores of these students are too high; score them with `confirm --seeds`."
)


def fold_section(content: ReportContent) -> Section | None:
    """Return the section; None if the search has no cross-validation."""
    count = content.config.picks.folds
    if count == 0:
        return None
    title = f"Cross-validation, {count} folds"
    scores = fold_scores(content.folds, (pick.number for pick in content.picks if pick.number is not None), count)
    if not scores:
        return Section(title=title, notes=("No student is picked, so there is nothing to score.",))
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
        notes=_notes(content, scores, starts_exposed=any(_starts_exposed(found[score.number]) for score in scores)),
    )


def exposure(content: ReportContent) -> str:
    """Return a sentence on whether the teacher was trained on the images of the folds."""
    trained_on = content.teacher.trained_on_data_id
    if trained_on == content.data.data_id:
        return (
            "The teacher was trained on the images of every fold, so its accuracy there is too high and the gaps are "
            "upper bounds."
        )
    known = "" if trained_on is None else "was trained on other data or splits and "
    return (
        f"The teacher {known}may have seen the images of the folds. Then its accuracy there is too high and the gaps "
        "are upper bounds."
    )


def _starts_exposed(row: Row) -> bool:
    return row["initial_weights"] not in ("", RANDOM, PRETRAINED)


def _notes(content: ReportContent, scores: tuple[FoldScore, ...], *, starts_exposed: bool) -> tuple[str, ...]:
    count = content.config.picks.folds
    method = (
        f"Each pick is trained {count} times with the recipe of its trial, on {count - 1} of {count} parts of the "
        "training images, and scored on the part left out."
    )
    notes = [method, exposure(content), _INDIRECT, ROUGH_INTERVAL]
    if starts_exposed:
        notes.append(STARTS_EXPOSED)
    if any(score.has_assistant for score in scores):
        notes.append(
            "Assistants were trained on the images of every fold, so the scores of their students may be too high."
        )
    if any(score.stopped_early for score in scores):
        notes.append("The recipe keeps the best epoch, which is chosen on the fold itself, so the scores are too high.")
    missing = sum(score.missing for score in scores)
    if missing:
        notes.append(f"{missing} of {count * len(scores)} trainings are not done: continue with `search --resume`.")
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
    """Return a mean and half its interval, such as "93.20 % \N{PLUS-MINUS SIGN} 3.10"."""
    if found is None:
        return MISSING
    spread = "" if found.half_width is None else f" \N{PLUS-MINUS SIGN} {scale * found.half_width:.2f}"
    return f"{text(scale * found.mean)}{spread}"


def _percent(value: float) -> str:
    return f"{value:.2f} %"
