"""What follows from the verdict on a student, given the student that the headline takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_distill.analysis.decision.commands import confirm_command, longer_command
from nas_distill.analysis.decision.evidence import Gap
from nas_distill.analysis.decision.records import Remedy
from nas_distill.analysis.diagnosis.verdicts import Diagnosis, Verdict

LONGER = 3
"""Factor on the epochs of a student that was trained too briefly."""

_CHANGES: Mapping[Verdict, str] = {
    "loss_mismatch": "use the other recipe, or let the search choose it (--recipe search)",
    "architecture_mismatch": "use another family of about this size",
    "under_capacity": "make it wider or deeper; to keep the size, use a teacher assistant (--assistants 1)",
    "miscalibrated": "do not use its probabilities: train it with another loss, such as kd, or with a smaller weight",
    "over_capacity": "regularise it: weight decay, dropout, drop-path, mixup, early stopping",
}
_BETTER: Mapping[Verdict, str] = {
    "undertrained": "no larger, and trained for more epochs",
    "loss_mismatch": "the same architecture with a better recipe",
    "architecture_mismatch": "of another family, no more expensive and clearly better",
    "over_capacity": "smaller, and no worse on these images",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of one student in a decision.

    Attributes:
        run: Run directory.
        images: Number of validation images.
        epochs: Epochs that it was trained for; None if that is unknown.
        headline: Trial number of the student to take; None if no student is within the tolerance.
        superseded: Whether the search put it within the tolerance and its confirmed scores do not.
        rival_dominates: Whether the rival of its diagnosis is at least as good in the gap and in every objective of the
            run, and better in one.
        gaps: The search's own gaps by trial number.
        confirmed: Trial numbers of the confirmed students.
    """

    run: str
    images: int
    epochs: int | None
    headline: int | None
    superseded: bool
    rival_dominates: bool
    gaps: Mapping[int, Gap]
    confirmed: frozenset[int]


def remedy_for(found: Diagnosis, place: Place) -> Remedy:
    """Return what to do about a student. Only a student that dominates it, or the headline's, is ever recommended.

    Args:
        found: Its diagnosis.
        place: Its place in the decision.
    """
    if found.number == place.headline:
        return _take(found, place)
    if place.superseded and place.headline is not None:
        return _take_other(place.headline, "the confirmed scores favour it")
    if found.rival is not None and place.rival_dominates:
        return _take_other(found.rival, _BETTER[found.verdict])
    return _improve(found, place)


def stopped_remedy() -> Remedy:
    """Return what to do about a student that the scheduler stopped."""
    return Remedy(
        action="keep", sentence="nothing, unless the early-stopping rule is in doubt (--asha none turns it off)"
    )


def _take(found: Diagnosis, place: Place) -> Remedy:
    improvement = _improve(found, place)
    confirmed = found.number in place.confirmed
    trials = improvement.trials if improvement.action == "confirm" else (found.number,)
    command = None if confirmed and improvement.action != "confirm" else confirm_command(place.run, trials)
    if improvement.action == "confirm":
        sentence = f"take it; {improvement.sentence}"
    elif improvement.action == "keep":
        sentence = "take it" if confirmed else "take it, and confirm it"
    else:
        sentence = f"take it; to lower its gap further, {improvement.sentence}"
    return Remedy(action="take", sentence=sentence, trials=trials, command=command)


def _take_other(number: int, reason: str) -> Remedy:
    return Remedy(action="take_other", sentence=f"take trial {number}: {reason}", trials=(number,))


def _improve(found: Diagnosis, place: Place) -> Remedy:
    if found.verdict == "undecided" and found.rival is not None:
        return _undecided(found.number, found.rival, place)
    if found.verdict in {"undertrained", "undecided"}:
        return _longer(found, place)
    if found.verdict == "over_capacity" and found.rival is not None:
        return Remedy(
            action="keep",
            sentence=f"keep it for the other objectives: trial {found.rival} is smaller and no worse in accuracy, but "
            "does not reach it there",
        )
    if found.verdict in _CHANGES:
        return Remedy(action="change", sentence=_CHANGES[found.verdict])
    return Remedy(action="keep", sentence="keep its size: no clearly smaller student of this run is as good")


def _undecided(number: int, smaller: int, place: Place) -> Remedy:
    worse = place.gaps[smaller].points - place.gaps[number].points
    unresolved = (
        f"trial {smaller} is smaller and {worse:.1f} points worse, which {place.images:,} images cannot resolve"
    )
    if {number, smaller} <= place.confirmed:
        return Remedy(action="keep", sentence=f"{unresolved}: compare the confirmed scores of both")
    return Remedy(
        action="confirm",
        sentence=f"{unresolved}: confirm both",
        trials=(number, smaller),
        command=confirm_command(place.run, [number, smaller]),
    )


def _longer(found: Diagnosis, place: Place) -> Remedy:
    if place.epochs is None:
        return Remedy(action="train_longer", sentence="train it longer (--epochs)", trials=(found.number,))
    epochs = LONGER * place.epochs
    first = "train it longer first" if found.verdict == "undecided" else "train it longer"
    return Remedy(
        action="train_longer",
        sentence=f"{first}: {epochs} epochs instead of {place.epochs}",
        trials=(found.number,),
        command=longer_command(place.run, epochs),
    )
