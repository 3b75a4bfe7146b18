"""The explanation of one student: cost, training, comparison, diagnosis and what to try."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas_distill.analysis.decision.records import StudentVerdict
from nas_distill.analysis.effects.losses_by_size import loss_label
from nas_distill.analysis.formatting import duration, percent, quantity, short_bytes, short_count, signed
from nas_distill.analysis.front.arithmetic import axes
from nas_distill.analysis.initial_weights import describe_initial_weights
from nas_distill.analysis.law.api import LawError
from nas_distill.analysis.run import Run
from nas_distill.analysis.stats import accuracy_half_width_points
from nas_distill.analysis.trials.cells import parse_gaps, parse_recipe
from nas_distill.errors import ConfigError
from nas_distill.records import RANDOM, TrialStatus
from nas_distill.report.content import Row, rows
from nas_distill.report.sections.confirmed import student_sentences
from nas_distill.report.sections.facts import classes_by_gap
from nas_distill.report.sections.section import Section
from nas_distill.report.tables import student_text

_SHOWN_CLASSES = 3
_SHOWN_DOMINATING = 3


def tell_story(run: Run, number: int) -> tuple[Section, ...]:
    """Return the explanation of one trial, from the records of its run.

    Args:
        run: The run.
        number: Number of the trial.

    Raises:
        ConfigError: The run has no such trial.
        RunError: A record is missing or damaged.
        StudyError: The study cannot be read.
    """
    trials = run.study.trials
    found = trials[trials["number"] == number]
    if found.empty:
        return (_unfinished(run, number),)
    (row,) = rows(found)
    parts = [Section(title=f"Trial {number}: {student_text(row)}", lead=_candidate(row, run))]
    parts.append(Section(title="Training", lead=_training(row)))
    if row["status"] == TrialStatus.FAILED:
        return (*parts, Section(title="Failed", lead=(str(row["error"]),)))
    if row["status"] == TrialStatus.STOPPED:
        return (*parts, _stopped(row, run), *_diagnosis(run, number))
    return (*parts, _scores(row, run), _rank(row, run), *_diagnosis(run, number), *_confirmed(run, number))


def _unfinished(run: Run, number: int) -> Section:
    """Return the section on a rejected candidate or a running trial."""
    for rejection in run.study.rejections:
        if rejection.number == number:
            candidate = rejection.candidate or "no candidate"
            return Section(
                title=f"Trial {number}: rejected before training", lead=(f"{candidate}: {rejection.reason}",)
            )
    curve = run.running_curve(number)
    if curve is not None:
        gap = curve[-1].gap_points if curve else None
        last = "" if gap is None else f", last gap {signed(gap)} points"
        return Section(title=f"Trial {number}: running", lead=(f"{len(curve)} epochs so far{last}.",))
    known = run.study.trials["number"]
    span = f", numbers {known.min()} to {known.max()}" if len(known) else ""
    raise ConfigError(
        f"{run.path} has no trial {number}; it has {len(known)} finished trials{span}",
        code="report.unknown_trial",
        field="TRIAL",
    )


def _candidate(row: Row, run: Run) -> tuple[str, ...]:
    if np.isnan(row["num_params"]):
        return ("Its cost is not recorded.",)
    share = float(row["num_params"]) / run.teacher.cost.num_params
    latency = "latency not measured" if np.isnan(row["latency_ms"]) else f"{row['latency_ms']:.3g} ms per image"
    costs = f"{short_count(row['macs'])} MACs, {short_bytes(row['size_bytes'])}, {latency}"
    size = f"{short_count(row['num_params'])} parameters ({percent(share)} of the teacher's)"
    return (f"{size}, {costs}; family {row['family']}", *_start(row))


def _start(row: Row) -> tuple[str, ...]:
    """Return what training started from; empty if it is unknown."""
    if not row["initial_weights"]:
        return ()
    copied = "" if np.isnan(row["copied_share"]) else f"; they set {percent(row['copied_share'])} of its parameters"
    start = describe_initial_weights(row["initial_weights"])
    return (f"Starts from {start}{copied if row['initial_weights'] != RANDOM else ''}",)


def _training(row: Row) -> tuple[str, ...]:
    recipe = parse_recipe(row["recipe"])
    if recipe is None:
        return ("Its training is not recorded.",)
    teacher = "the teacher" if np.isnan(row["assistant"]) else f"trial {row['assistant']:.0f} (assistant)"
    fine_tuned = row["initial_weights"] not in ("", RANDOM)
    rate = recipe.learning_rate * (recipe.fine_tuning_rate_share if fine_tuned else 1.0)
    names = ("weight_decay", "dropout", "drop_path", "label_smoothing")
    options = [f"{name} {getattr(recipe, name):g}" for name in names]
    resumed = f", resumed {row['resumptions']} times" if row["resumptions"] else ""
    epochs = f"{row['epochs']} of {row['planned_epochs']} epochs in {duration(float(row['wall_time_s']))}"
    return (
        f"Distilled from {teacher} with {loss_label(row['losses'])}; {epochs} on {row['device']}{resumed}",
        f"{recipe.optimizer}, learning rate {rate:g}, {', '.join(options)}, mix {recipe.mix}",
    )


def _scores(row: Row, run: Run) -> Section:
    images = sum(run.teacher.class_counts)
    error = float(accuracy_half_width_points(np.asarray(row["top1"]), images))
    sample = f"on {images:,} validation images (\N{PLUS-MINUS SIGN} {error:.2f} from the sample of images)"
    teacher = f"teacher {100.0 * run.teacher.top1:.2f} %, gap {signed(float(row['gap_points']))} points"
    optional = {"ece": "calibration error {:.3f}", "feature_cka": "feature CKA {:.2f}"}
    similarity = [
        f"Agreement {percent(row['agreement'])}",
        f"divergence {row['divergence_nats']:.3f} nats",
        f"negative log-likelihood {row['nll_nats']:.3f} nats",
        *(text.format(row[name]) for name, text in optional.items() if not np.isnan(row[name])),
    ]
    calibration = () if np.isnan(row["temperature"]) else (_calibration(row),)
    difference = f"({signed(float(row['generalisation_gap_points']))} points compared with validation)"
    training = [
        f"On training images: top-1 {100.0 * row['train_top1']:.2f} % {difference}",
        f"agreement {percent(row['train_agreement'])}",
        f"divergence {row['train_divergence_nats']:.3f} nats",
    ]
    lead = [f"Top-1 {100.0 * row['top1']:.2f} % {sample}, {teacher}", ", ".join(similarity)]
    lead += [*calibration, ", ".join(training)]
    by_gap = classes_by_gap(row, run.teacher)
    worst = [f"{name} {signed(gap)} points ({count} images)" for gap, name, count in by_gap[:_SHOWN_CLASSES]]
    lead += [f"Largest gaps by class: {'; '.join(worst)}"] if worst else []
    return Section(title="Comparison with the teacher", lead=tuple(lead))


def _calibration(row: Row) -> str:
    """Return what dividing the logits by a temperature changed."""
    if row["temperature"] == 1.0:
        return "Not calibrated: no temperature made the labels of the validation images more likely"
    return (
        f"Calibrated: logits divided by {row['temperature']:.3g}; before, calibration error "
        f"{row['uncalibrated_ece']:.3f} and negative log-likelihood {row['uncalibrated_nll_nats']:.3f} nats"
    )


def _rank(row: Row, run: Run) -> Section:
    front, number = run.front(), int(row["number"])
    if number not in front.numbers:
        return Section(
            title="Pareto front", lead=(f"Not on the front: {_dominating(row, run)}", _against_law(row, run))
        )
    picked = [pick.title for pick in run.picks if pick.number == number]
    lead = [f"On the front of {len(front.numbers)} students{', picked as: ' if picked else ''}{', '.join(picked)}"]
    place = front.numbers.index(number)
    for step, side in ((-1, "cheaper"), (1, "more expensive")):
        if 0 <= place + step < len(front.numbers):
            other = front.members.iloc[place + step]
            lead.append(f"Next {side} student on the front: trial {other['number']} ({_objectives_of(other, run)})")
    return Section(title="Pareto front", lead=(*lead, _against_law(row, run)))


def _dominating(row: Row, run: Run) -> str:
    front, trials = run.front(), run.study.trials
    own = axes(trials[trials["number"] == row["number"]], front.objectives)[0]
    if np.isnan(own).any():
        return "an objective was not measured"
    dominating = (front.values <= own).all(axis=1) & (front.values < own).any(axis=1)
    members = front.members[dominating]
    texts = [
        f"trial {one['number']} ({_objectives_of(one, run)})" for _, one in members.head(_SHOWN_DOMINATING).iterrows()
    ]
    more = f" and {len(members) - _SHOWN_DOMINATING} more" if len(members) > _SHOWN_DOMINATING else ""
    return f"dominated by {', '.join(texts)}{more}"


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
    interval = f"{100 * law.level:.0f} % prediction interval {signed(low)} to {signed(high)}"
    return f"Capacity law at its size: {signed(mid)} points ({interval}); its own gap is {place} the interval"


def _stopped(row: Row, run: Run) -> Section:
    gaps = parse_gaps(row["curve_gap_points"])
    last = f" at a gap of {signed(gaps[-1])} points" if gaps and gaps[-1] is not None else ""
    epochs = f"Stopped early after {row['epochs']} of {row['planned_epochs']} epochs{last}"
    rule = f"other trials were better at this rung at no higher cost (--asha {run.config.asha.rule})"
    return Section(title="Stopped", lead=(f"{epochs}: {rule}. Stopped trials are never on the front.",))


def _diagnosis(run: Run, number: int) -> tuple[Section, ...]:
    found = run.decision.verdict_on(number)
    return () if found is None else (_diagnosis_section(found),)


def _diagnosis_section(found: StudentVerdict) -> Section:
    untested = [one for one in found.earlier_rules if ": " in one]
    notes = (f"Earlier rules: {'; '.join(untested)}",) if untested else ()
    command = () if found.remedy.command is None else (f"Command: {found.remedy.command}",)
    lead = (*found.evidence, *notes, f"What to do: {found.remedy.sentence}", *command)
    return Section(title=f"Diagnosis: {found.verdict}", lead=lead)


def _confirmed(run: Run, number: int) -> tuple[Section, ...]:
    found = (run.confirmed(in_folds=in_folds) for in_folds in (False, True))
    students = [one for confirmed in found if confirmed is not None for one in confirmed.students]
    sentences = (student_sentences(one, run.teacher.class_names) for one in students if one.number == number)
    return tuple(Section(title="Confirmed", lead=lead) for lead in sentences)
