"""One student's story: what it is, how it was trained, where it stands, why, and what to try."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import Diagnosis
from nas_distill.analysis.effects.losses_by_size import loss_label
from nas_distill.analysis.formatting import duration, percent, quantity, short_bytes, short_count, signed
from nas_distill.analysis.front.arithmetic import axes
from nas_distill.analysis.law.api import LawError
from nas_distill.analysis.run import Run
from nas_distill.analysis.stats import accuracy_half_width_points
from nas_distill.analysis.trials.cells import parse_gaps, parse_recipe
from nas_distill.errors import ConfigError
from nas_distill.records import TrialStatus
from nas_distill.report.content import Row, rows
from nas_distill.report.sections.confirmed import student_sentences
from nas_distill.report.sections.facts import classes_by_gap
from nas_distill.report.sections.section import Section
from nas_distill.report.tables import student_text

_SHOWN_CLASSES = 3
_SHOWN_RIVALS = 3


def tell_story(run: Run, number: int) -> tuple[Section, ...]:
    """Returns what the records of a run say of one trial.

    Args:
        run: The run.
        number: Of the trial.

    Raises:
        ConfigError: The run has no such trial.
        RunError: A record is missing or damaged.
        StudyError: The study cannot be read.
    """
    trials = run.study.trials
    found = trials[trials["number"] == number]
    if found.empty:
        return (_without_end(run, number),)
    (row,) = rows(found)
    parts = [Section(title=f"Trial {number}: {student_text(row)}", lead=_candidate(row, run))]
    parts.append(Section(title="Training", lead=_training(row)))
    if row["status"] == TrialStatus.FAILED:
        return (*parts, Section(title="Failed", lead=(str(row["error"]),)))
    if row["status"] == TrialStatus.STOPPED:
        return (*parts, _stopped(row, run), *_verdict(run, number))
    return (*parts, _worth(row, run), _standing(row, run), *_verdict(run, number), *_confirmed(run, number))


def _without_end(run: Run, number: int) -> Section:
    """Tells of a trial that was refused or is in flight."""
    for rejection in run.study.rejections:
        if rejection.number == number:
            what = rejection.candidate or "its space chose no candidate"
            return Section(title=f"Trial {number}: refused before training", lead=(f"{what}: {rejection.reason}",))
    curve = run.running_curve(number)
    if curve is not None:
        gap = curve[-1].gap_points if curve else None
        last = "" if gap is None else f", the last with a gap of {signed(gap)} points"
        return Section(title=f"Trial {number}: in flight", lead=(f"{len(curve)} epochs are on disk{last}.",))
    known = run.study.trials["number"]
    span = f", {known.min()} to {known.max()}" if len(known) else ""
    raise ConfigError(f"TRIAL {number}: is no trial of {run.path}, of which {len(known)} have ended{span}")


def _candidate(row: Row, run: Run) -> tuple[str, ...]:
    if np.isnan(row["num_params"]):
        return ("What it costs is not recorded.",)
    share = float(row["num_params"]) / run.teacher.cost.num_params
    latency = "" if np.isnan(row["latency_ms"]) else f", {row['latency_ms']:.2f} ms an image on one thread"
    costs = f"{short_count(row['macs'])} MACs, {short_bytes(row['size_bytes'])}{latency}"
    size = f"{short_count(row['num_params'])} parameters ({percent(share)} of the teacher's)"
    return (f"{size}, {costs}; family {row['family']}",)


def _training(row: Row) -> tuple[str, ...]:
    recipe = parse_recipe(row["recipe"])
    if recipe is None:
        return ("Nothing is recorded of it.",)
    taught_by = "the teacher" if np.isnan(row["assistant"]) else f"the student of trial {row['assistant']:.0f}"
    options = [
        f"{name} {getattr(recipe, name):g}" for name in ("weight_decay", "dropout", "drop_path", "label_smoothing")
    ]
    resumed = f", resumed {row['resumptions']} times" if row["resumptions"] else ""
    epochs = f"{row['epochs']} of {row['planned_epochs']} epochs in {duration(float(row['wall_time_s']))}"
    return (
        f"Taught by {taught_by} with {loss_label(row['losses'])}; {epochs} on {row['device']}{resumed}",
        f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}, {', '.join(options)}, mix {recipe.mix}",
    )


def _worth(row: Row, run: Run) -> Section:
    images = sum(run.teacher.class_counts)
    error = float(accuracy_half_width_points(np.asarray(row["top1"]), images))
    sample = f"on {images:,} validation images (\N{PLUS-MINUS SIGN} {error:.2f} by the sample)"
    teacher = f"the teacher's is {100.0 * run.teacher.top1:.2f} %: gap {signed(float(row['gap_points']))} points"
    optional = {"ece": "calibration error {:.3f}", "feature_cka": "feature CKA {:.2f}"}
    likeness = [
        f"Agreement {percent(row['agreement'])}",
        f"divergence {row['divergence_nats']:.3f} nats",
        f"negative log-likelihood {row['nll_nats']:.3f} nats",
        *(text.format(row[name]) for name, text in optional.items() if not np.isnan(row[name])),
    ]
    apart = f"({signed(float(row['generalisation_gap_points']))} points above validation)"
    training = [
        f"On training images: top-1 {100.0 * row['train_top1']:.2f} % {apart}",
        f"agreement {percent(row['train_agreement'])}",
        f"divergence {row['train_divergence_nats']:.3f} nats",
    ]
    lead = [f"Top-1 {100.0 * row['top1']:.2f} % {sample}, {teacher}", ", ".join(likeness), ", ".join(training)]
    by_gap = classes_by_gap(row, run.teacher)
    worst = [f"{name} {signed(gap)} points ({count} images)" for gap, name, count in by_gap[:_SHOWN_CLASSES]]
    lead += [f"Largest gaps by class: {'; '.join(worst)}"] if worst else []
    return Section(title="Against the teacher", lead=tuple(lead))


def _standing(row: Row, run: Run) -> Section:
    front, number = run.front(), int(row["number"])
    if number not in front.numbers:
        return Section(title="Standing", lead=(f"Not on the front: {_rivals(row, run)}", _against_law(row, run)))
    picked = [pick.title for pick in run.picks if pick.number == number]
    lead = [f"On the front of {len(front.numbers)}{', picked as: ' if picked else ''}{', '.join(picked)}"]
    place = front.numbers.index(number)
    for step, side in ((-1, "cheaper"), (1, "dearer")):
        if 0 <= place + step < len(front.numbers):
            other = front.members.iloc[place + step]
            lead.append(f"The next {side} there is trial {other['number']} ({_objectives_of(other, run)})")
    return Section(title="Standing", lead=(*lead, _against_law(row, run)))


def _rivals(row: Row, run: Run) -> str:
    front, trials = run.front(), run.study.trials
    own = axes(trials[trials["number"] == row["number"]], front.objectives)[0]
    if np.isnan(own).any():
        return "an objective is missing"
    dominating = (front.values <= own).all(axis=1) & (front.values < own).any(axis=1)
    members = front.members[dominating]
    texts = [f"trial {one['number']} ({_objectives_of(one, run)})" for _, one in members.head(_SHOWN_RIVALS).iterrows()]
    more = f" and {len(members) - _SHOWN_RIVALS} more" if len(members) > _SHOWN_RIVALS else ""
    return f"no worse in any objective and better in one are {', '.join(texts)}{more}"


def _objectives_of(row: pd.Series, run: Run) -> str:
    return ", ".join(quantity(one, float(row[one.name])) for one in run.study.objectives)


def _against_law(row: Row, run: Run) -> str:
    try:
        law = run.capacity_law()
    except LawError as error:
        return f"No capacity law: {error}."
    bands = law.predict([float(row["num_params"])])
    low, mid, high = (float(values[0]) for values in (bands.new_low, bands.mid, bands.new_high))
    gap = float(row["gap_points"])
    place = "within" if low <= gap <= high else "below" if gap < low else "above"
    span = f"{100 * law.level:.0f} % of new ones {signed(low)} to {signed(high)}"
    return f"By the capacity law a student of its size has a gap of {signed(mid)} points ({span}): it lies {place} that"


def _stopped(row: Row, run: Run) -> Section:
    gaps = parse_gaps(row["curve_gap_points"])
    last = f" at a gap of {signed(gaps[-1])} points" if gaps and gaps[-1] is not None else ""
    epochs = f"The scheduler stopped it after {row['epochs']} of {row['planned_epochs']} epochs{last}"
    rule = f"at that rung others did better at no more cost (--asha {run.config.asha.rule})"
    return Section(title="Stopped", lead=(f"{epochs}: {rule}. It cannot stand on the front.",))


def _verdict(run: Run, number: int) -> tuple[Section, ...]:
    images = sum(run.teacher.class_counts)
    study, settings = run.study, run.config.diagnosis
    found = diagnose(study.trials, study.curves, images=images, settings=settings, number=number)
    return tuple(_of_diagnosis(one) for one in found)


def _of_diagnosis(diagnosis: Diagnosis) -> Section:
    untested = [one for one in diagnosis.earlier_rules if ": " in one]
    notes = (f"Before it: {'; '.join(untested)}",) if untested else ()
    lead = (*diagnosis.evidence, *notes, f"What to try: {diagnosis.remedy}")
    return Section(title=f"Verdict: {diagnosis.verdict}", lead=lead)


def _confirmed(run: Run, number: int) -> tuple[Section, ...]:
    found = (run.confirmed(in_folds=in_folds) for in_folds in (False, True))
    students = [one for confirmed in found if confirmed is not None for one in confirmed.students]
    sentences = (student_sentences(one, run.teacher.class_names) for one in students if one.number == number)
    return tuple(Section(title="Confirmed", lead=lead) for lead in sentences)
