"""The rules of the decision table: each looks at one student among all and returns its evidence, or None."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas_distill.analysis.diagnosis.curves import late_progress, tail_slope
from nas_distill.analysis.diagnosis.verdicts import Verdict
from nas_distill.analysis.effects.recipe_labels import besides_losses, differ, told_apart
from nas_distill.analysis.formatting import percent, short_count, signed
from nas_distill.analysis.trials.students import Students
from nas_distill.config import DiagnosisConfig

Evidence = tuple[str, ...]
Rule = Callable[[Students, int, DiagnosisConfig], Evidence | None]


class NotTestedError(Exception):
    """A rule lacks what it compares; the message says what."""


def loss_mismatch(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when the same architecture does clearly better under another recipe, in no more epochs."""
    del settings
    epochs = students.values["planned_epochs"]
    spec, taught_by = str(students.texts["spec_id"][place]), students.groups[place][1]
    others = [one for one in students.specs[spec, taught_by] if differ(students, place, one)]
    if not others:
        raise NotTestedError("its architecture was not trained under another loss or recipe")
    others = [one for one in others if not epochs[one] > epochs[place]]
    if not others:
        raise NotTestedError("its architecture was not trained under another loss or recipe in no more epochs")
    rival = students.clearly_better(others, place)
    if rival is None:
        return None
    gaps = students.values["gap_points"]
    names = told_apart(students, place, rival)
    better = f"{signed(gaps[rival])} points under {names[1]} in {students.named(rival)}"
    own = f"{signed(gaps[place])} under {names[0]}"
    evidence = (f"the same architecture has a gap of {better}, and {own}", _beyond(students, place, rival))
    besides = besides_losses(students, place, rival)
    return (
        (*evidence, f"their recipes differ in {besides}, too: it need not be the loss alone") if besides else evidence
    )


def undertrained(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when much of the divergence's fall came in the last half of the epochs, and its tail still falls apace."""
    curve = students.divergences.get(int(students.numbers[place]))
    late = None if curve is None else late_progress(curve)
    if curve is None or late is None:
        raise NotTestedError("its curve has fewer than two epochs")
    if late < settings.late_progress:
        return None
    share = f"{percent(late)} of the whole fall of its divergence came in the last half of its {len(curve)} epochs"
    cut_short = f"{share} (from {percent(settings.late_progress)} on it counts as cut short)"
    slope = tail_slope(curve)
    if slope is None:
        return cut_short, "they are too few for a slope of its tail"
    left = float(curve[np.isfinite(curve)][-1])
    pace = -slope.per_epoch * len(curve) / left if left > 0.0 else 0.0
    if not slope.falls or pace < settings.pace:
        return None
    interval = f"95 % interval {-slope.high:.4f} to {-slope.low:.4f}"
    tail = f"over the last {slope.epochs} it falls by {-slope.per_epoch:.4f} nats an epoch ({interval})"
    again = f"as many epochs again would take {percent(pace)} off what is left (from {percent(settings.pace)} on)"
    return cut_short, tail, f"at that pace {again}"


def architecture_mismatch(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when another family does clearly better at its size, its own does not, and its features match less."""
    sizes, gaps, cka = (students.values[name] for name in ("num_params", "gap_points", "feature_cka"))
    group, limit = students.groups[place], settings.similar_size * sizes[place]
    others = [best_by_size.up_to(limit) for (family, by), best_by_size in students.ladders.items()
              if by == group[1] and family != group[0]]  # fmt: skip
    if all(one is None for one in others):
        raise NotTestedError("no student of another family is of its size")
    rival = students.clearly_better(others, place)
    if rival is None:
        return None
    sibling = students.ladders[group].up_to(limit)
    if sibling is not None and gaps[sibling] - gaps[rival] <= students.apart(sibling, rival):
        return None  # one of its own family does as well: it is not the family
    closer = cka[rival] - cka[place]
    if closer < settings.feature_cka_margin:
        return None  # its features resemble the teacher's as much: the family is not what it lacks
    features = "the similarity of features was not measured: this goes by gaps alone"
    if not np.isnan(closer):
        features = f"its features resemble the teacher's less: CKA {cka[place]:.2f} against {cka[rival]:.2f}"
    better = f"{students.named(rival)} has {signed(gaps[rival])}"
    return (
        f"its gap is {signed(gaps[place])} points with {short_count(sizes[place])} parameters; {better}",
        _beyond(students, place, rival),
        f"no other {group[0]} of about its size does as well as that one",
        features,
    )


def under_capacity(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when it does not fit the teacher even on training images; not where a sibling no larger does better."""
    unfit, apart = _disagreement(students, place)
    if not students.is_behind(place):
        return None
    siblings = students.ladders[students.groups[place]]
    if students.clearly_better([siblings.up_to(students.values["num_params"][place])], place) is not None:
        return None  # one of its family does better with no more parameters: it is not the size
    divergence = students.values["train_divergence_nats"][place]
    fit = f"on training images it agrees with the teacher on {percent(1.0 - unfit)}, divergence {divergence:.3f} nats"
    if 1.0 - unfit < settings.train_agreement:
        return f"{fit} (below {percent(settings.train_agreement)} it does not fit)", _gap(students, place)
    if unfit < apart or not _is_far_behind(students, place, settings):
        return None
    lost = (
        f"more is lost there than between training and validation ({percent(unfit)} against {percent(max(apart, 0.0))})"
    )
    return fit, lost, _gap(students, place)


def over_capacity(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when it fits and does not generalise, or a smaller student is as good or better."""
    gaps, sizes, half = students.values["gap_points"], students.values["num_params"], students.half[place]
    unfit, apart = _disagreement(students, place, required=False)
    points = students.values["generalisation_gap_points"][place]
    fit = f"on training images it agrees with the teacher on {percent(1.0 - unfit)}"
    if points >= settings.generalisation_gap_points and points > half:
        limit = f"from {settings.generalisation_gap_points:g} on it does not generalise"
        return (f"{fit}, and its top-1 is {signed(points)} points higher there than on validation ({limit})",)
    if apart > unfit and _is_far_behind(students, place, settings):
        lost = f"more is lost from there to validation than there ({percent(apart)} against {percent(unfit)})"
        return fit, lost, _gap(students, place)
    smaller = students.everyone.up_to(settings.smaller_size * sizes[place])
    if smaller is not None and gaps[smaller] - gaps[place] <= half:
        values = f"{signed(gaps[smaller])} against {signed(gaps[place])} \N{PLUS-MINUS SIGN} {half:.2f} points"
        share = f"with {percent(sizes[smaller] / sizes[place])} of its parameters"
        return (f"{students.named(smaller)} is at least as good, as far as the images tell, {share}: gap {values}",)
    better = students.clearly_better([students.everyone.up_to(sizes[place] - 1.0)], place)
    if better is None:
        return None
    return (
        f"{students.named(better)} has a gap of {signed(gaps[better])} against {signed(gaps[place])} points",
        _beyond(students, place, better),
    )


def matched(students: Students, place: int) -> Evidence:
    """Returns what speaks for a student on which no rule fires."""
    fit, apart = (students.values[name][place] for name in ("train_agreement", "generalisation_gap_points"))
    measured = "how it fits on training images was not measured"
    if not np.isnan(fit) and not np.isnan(apart):
        measured = (
            f"it agrees with the teacher on {percent(fit)} of training images, {signed(apart)} points to validation"
        )
    rival = students.clearly_better([students.everyone.up_to(students.values["num_params"][place])], place)
    if rival is None:
        return measured, _gap(students, place)
    better = f"{students.named(rival)} has a gap of {signed(students.values['gap_points'][rival])} points"
    return measured, _gap(students, place), f"{better} with as many parameters: it is not the size"


RULES: dict[Verdict, Rule] = {
    "loss_mismatch": loss_mismatch,
    "undertrained": undertrained,
    "architecture_mismatch": architecture_mismatch,
    "under_capacity": under_capacity,
    "over_capacity": over_capacity,
}
"""By verdict, in no order: that is `verdicts.VERDICTS`' part."""


def _disagreement(students: Students, place: int, *, required: bool = True) -> tuple[float, float]:
    """Returns the share of training images on which a student disagrees, and by how much more on validation; NaN."""
    fit, agreement = (float(students.values[name][place]) for name in ("train_agreement", "agreement"))
    if required and np.isnan(fit):
        raise NotTestedError("its agreement on training images was not measured")
    return 1.0 - fit, fit - agreement


def _is_far_behind(students: Students, place: int, settings: DiagnosisConfig) -> bool:
    return students.is_behind(place) and bool(students.values["gap_points"][place] >= settings.far_behind_points)


def _gap(students: Students, place: int) -> str:
    gap = f"its gap is {signed(students.values['gap_points'][place])} points"
    behind = "beyond" if students.is_behind(place) else "not beyond"
    return f"{gap}, {behind} the {students.half[place]:.2f} that chance in the images explains"


def _beyond(students: Students, place: int, rival: int) -> str:
    return f"the difference is beyond the {students.apart(place, rival):.2f} points that chance in the images explains"
