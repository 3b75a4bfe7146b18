"""The rules of the decision table: each looks at one student among all and returns its evidence, or None."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas_distill.analysis.curves import late_progress, tail_slope
from nas_distill.analysis.quantities import percent, short_count, signed
from nas_distill.analysis.recipes import loss_label
from nas_distill.analysis.students import Students
from nas_distill.analysis.verdicts import Verdict
from nas_distill.config import DiagnosisConfig

Evidence = tuple[str, ...]
Rule = Callable[[Students, int, DiagnosisConfig], Evidence | None]


def undertrained(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when much of the divergence's fall came in the last half of the epochs, and its tail still falls apace."""
    curve = students.divergences.get(int(students.numbers[place]))
    late = None if curve is None else late_progress(curve)
    if curve is None or late is None or late < settings.late_progress:
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


def loss_mismatch(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when the same architecture does clearly better under other losses, in no more epochs."""
    del settings
    epochs = students.values["planned_epochs"]
    same = (students.specs == students.specs[place]) & (students.losses != students.losses[place])
    same &= ~(epochs > epochs[place])
    rival = students.clearly_better(same, place)
    if rival is None:
        return None
    gaps = students.values["gap_points"]
    better = f"{signed(gaps[rival])} points under {loss_label(students.losses[rival])} in {students.named(rival)}"
    own = f"{signed(gaps[place])} under {loss_label(students.losses[place])}"
    return f"the same architecture has a gap of {better}, and {own}", _beyond(students, place, rival)


def architecture_mismatch(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when another family does clearly better at its size, its own does not, and its features match less."""
    sizes, gaps, cka = (students.values[name] for name in ("num_params", "gap_points", "feature_cka"))
    of_size = sizes <= settings.similar_size * sizes[place]
    own = students.families == students.families[place]
    rival = students.clearly_better(of_size & ~own, place)
    if rival is None:
        return None
    sibling = students.best(own & of_size)
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
        f"no other {students.families[place]} of about its size does as well as that one",
        features,
    )


def under_capacity(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when it does not fit the teacher even on training images."""
    agreement = students.values["train_agreement"][place]
    if not agreement < settings.train_agreement:
        return None
    divergence = students.values["train_divergence_nats"][place]
    fit = f"on training images it agrees with the teacher on {percent(agreement)}, divergence {divergence:.3f} nats"
    return (
        f"{fit} (below {percent(settings.train_agreement)} it does not fit)",
        "its curve has come to its end, and no other loss or family of its size in this run does better",
    )


def over_capacity(students: Students, place: int, settings: DiagnosisConfig) -> Evidence | None:
    """Fires when it fits and does not generalise, or a smaller student is as good."""
    gaps, sizes = students.values["gap_points"], students.values["num_params"]
    apart, half = students.values["generalisation_gap_points"][place], students.half[place]
    if apart >= settings.generalisation_gap_points and apart > half:
        fit = f"it fits: agreement {percent(students.values['train_agreement'][place])} on training images"
        limit = f"from {settings.generalisation_gap_points:g} on it does not generalise"
        return (f"{fit}, top-1 {signed(apart)} points higher there than on validation ({limit})",)
    smaller = students.best(sizes <= settings.smaller_size * sizes[place])
    if smaller is None or gaps[smaller] - gaps[place] > half:
        return None
    share = f"with {percent(sizes[smaller] / sizes[place])} of its parameters"
    values = f"{signed(gaps[smaller])} against {signed(gaps[place])} \N{PLUS-MINUS SIGN} {half:.2f} points"
    return (f"{students.named(smaller)} lies within its interval {share}: gap {values}",)


def matched(students: Students, place: int) -> Evidence:
    """Returns what speaks for a student on which no rule fires."""
    fit, apart = (students.values[name][place] for name in ("train_agreement", "generalisation_gap_points"))
    return (
        f"it fits (agreement {percent(fit)} on training images) and generalises ({signed(apart)} points to validation)",
        "no smaller student lies within its interval, no other loss or family of its size does better",
    )


RULES: dict[Verdict, Rule] = {
    "undertrained": undertrained,
    "loss_mismatch": loss_mismatch,
    "architecture_mismatch": architecture_mismatch,
    "under_capacity": under_capacity,
    "over_capacity": over_capacity,
}
"""By verdict, in no order: that is `verdicts.VERDICTS`' part."""


def _beyond(students: Students, place: int, rival: int) -> str:
    return f"the difference is beyond the {students.apart(place, rival):.2f} points that chance in the images explains"
