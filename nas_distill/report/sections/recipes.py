"""What the report says of losses: which did best among students of about the same size, and how sure that is."""

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
    "Of the fully trained students that the teacher taught. Interval: percentile bootstrap of the median over trials, "
    f"{BOOTSTRAP_RESAMPLES:,} resamples; of 5 trials and fewer it is their range at most, and rough. "
    f'"Clear": best and second have at least {MIN_TO_DISTINGUISH} trials each, and their intervals do not overlap.'
)
_STOPPED = (
    "Trials that were stopped early have no gap to count: a loss of which few were let go on looks better by those "
    'than it is. For "clear" the best loss\'s stopped trials count as worse than all others.'
)
_OTHER_CHOICES = (
    "Differences also come from the other choices of the sampler: the trials of a band differ in architecture, in size "
    "and in the rest of their recipes, and the sampler repeats what did well before."
)


def recipe_section(content: ReportContent) -> Section | None:
    """Returns what there is to say; None when losses were not searched and all students had the same."""
    bands = losses_by_size(content.trials)
    losses = {score.label for band in bands for score in band.scores}
    if len(losses) < 2:
        if content.config.space.recipe != SEARCHED_RECIPE or not bands:
            return None
        only = f"Every fully trained student had the same loss ({next(iter(losses))}): there is none to compare."
        return Section(title=TITLE, lead=(only,))
    notes = [_METHOD, _OTHER_CHOICES]
    if any(score.stopped for band in bands for score in band.scores):
        notes.insert(1, _STOPPED)
    if len(bands) == 1:
        notes.insert(0, f"Too few students for bands of {MIN_TRIALS} and more: all sizes are one band.")
    scored = [(band, score) for band in bands for score in band.scores]
    return Section(
        title=TITLE,
        lead=tuple(_sentence(band) for band in bands),
        caption="Capacity gap by loss among students of about the same size, smallest students first",
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
        f" A single trial of {single.label} had {signed(single.best_gap_points)}." if single and best.comparable else ""
    )
    match band.standing:
        case "single trial":
            return f"{start}, by the best single trial ({signed(best.best_gap_points)} points): no loss has two."
        case "no runner-up":
            return f"{start}, with a {_median(best)}; no other loss has two.{below}"
        case standing:
            assert other is not None
            return f"{start}, with a {_median(best)}; second {other.label}, with a {_median(other)}: {standing}.{below}"


def _median(score: Score) -> str:
    return f"median gap of {signed(score.median_gap_points)} points over {score.trials} trials"


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
