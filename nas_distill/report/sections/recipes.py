"""The section that compares losses among students of similar size."""

from __future__ import annotations

from nas_distill.analysis.effects.by_size import MIN_TO_DISTINGUISH, MIN_TRIALS, BandComparison, Score
from nas_distill.analysis.effects.losses_by_size import losses_by_size
from nas_distill.analysis.formatting import MISSING, quantity, short_count, signed
from nas_distill.analysis.stats import BOOTSTRAP_RESAMPLES
from nas_distill.config import SEARCHED_RECIPE
from nas_distill.objectives import OBJECTIVES
from nas_distill.report.content import ReportContent
from nas_distill.report.sections.section import Section

RECIPE_COLUMNS = (
    "Parameters", "Loss", "Trials", "Stopped", "Median gap, points", "95 % interval", "Best gap, points", "Standing",
)  # fmt: skip
TITLE = "Best loss by size"

_METHOD = (
    "Fully trained students of the teacher, without those of assistants. Interval: percentile bootstrap of the median "
    f"over trials, {BOOTSTRAP_RESAMPLES:,} resamples; with 5 or fewer trials it is only approximate. "
    f'"Clear": the best and the second loss have at least {MIN_TO_DISTINGUISH} trials each, and their intervals do not '
    "overlap."
)
_STOPPED = (
    "Trials that were stopped early have no final gap, so a loss with many stopped trials looks better than it is. For "
    '"clear", stopped trials of the best loss count as worse than all others.'
)
_OTHER_CHOICES = (
    "The trials of a band also differ in architecture, size and the rest of their recipes, and the sampler repeats "
    "choices that did well. The differences are therefore not caused by the loss alone."
)


def recipe_section(content: ReportContent) -> Section | None:
    """Return the section; None if losses are not searched and all students share one."""
    bands = losses_by_size(content.trials)
    losses = {score.label for band in bands for score in band.scores}
    if len(losses) < 2:
        if content.config.space.recipe != SEARCHED_RECIPE or not bands:
            return None
        only = f"All fully trained students have the same loss ({next(iter(losses))}), so there is nothing to compare."
        return Section(title=TITLE, lead=(only,))
    notes = [_METHOD, _OTHER_CHOICES]
    if any(score.stopped for band in bands for score in band.scores):
        notes.insert(1, _STOPPED)
    if len(bands) == 1:
        notes.insert(0, f"Too few students for bands of at least {MIN_TRIALS}: all sizes form one band.")
    scored = [(band, score) for band in bands for score in band.scores]
    return Section(
        title=TITLE,
        lead=tuple(_sentence(band) for band in bands),
        caption="Capacity gap by loss among students of similar size, smallest students first",
        columns=RECIPE_COLUMNS,
        texts=frozenset({"Parameters", "Loss", "Standing"}),
        lines=tuple(_line(band, score) for band, score in scored),
        marked=frozenset(index for index, (band, score) in enumerate(scored) if score is band.best),
        notes=tuple(notes),
    )


def _sentence(band: BandComparison) -> str:
    best, other, single = band.best, band.runner_up, band.better_single
    start = f"{_range(band)}: {best.label}"
    below = (
        f" A single trial of {single.label} has a gap of {signed(single.best_gap_points)} points."
        if single and best.comparable
        else ""
    )
    match band.standing:
        case "single trial":
            return f"{start} has the best single trial ({signed(best.best_gap_points)} points). No loss has two trials."
        case "no runner-up":
            return f"{start}, {_median(best)}. No other loss has two trials.{below}"
        case standing:
            assert other is not None
            return f"{start}, {_median(best)}; second {other.label}, {_median(other)}. Difference: {standing}.{below}"


def _median(score: Score) -> str:
    return f"median gap {signed(score.median_gap_points)} points over {score.trials} trials"


def _line(band: BandComparison, score: Score) -> tuple[str, ...]:
    interval = MISSING
    if score.interval is not None:
        interval = " to ".join(signed(bound) for bound in score.interval)
    return (
        _range(band),
        score.label,
        str(score.trials),
        str(score.stopped),
        signed(score.median_gap_points),
        interval,
        signed(score.best_gap_points),
        f"best: {band.standing}" if score is band.best else "",
    )


def _range(band: BandComparison) -> str:
    largest = quantity(OBJECTIVES["num_params"], band.largest)
    return largest if band.smallest == band.largest else f"{short_count(band.smallest)} to {largest}"
