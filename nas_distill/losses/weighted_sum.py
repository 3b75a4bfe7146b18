"""The weighted sum of losses that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_distill.errors import ConfigError
from nas_distill.losses.entries import STANDARDISE, WEIGHT, LossEntry, Need
from nas_distill.losses.functional import standardise
from nas_distill.losses.functional.numerics import like_logits, wide
from nas_distill.losses.learned import Shape
from nas_distill.losses.shipped import LOSSES
from nas_distill.records import Recipe

NONE = "none"
"""What a recipe may call the control, which asks no teacher: `losses: {none: {}}` is `losses: {}`."""

SERVED = frozenset({Need.LOGITS, Need.LABELS, Need.LEARNING})
"""What the trainer hands to losses. A trainer that does more (see `DistillationLoss`) adds to it here."""


class LossTerm(nn.Module):
    """One loss with its parameters, learned ones included.

    Args:
        entry: The loss.
        parameters: As `entry.resolve` returns them.
        student: Shape of the student's features of one image; only learned parts of feature losses ask for it.
        teacher: Likewise.

    Raises:
        ConfigError: The learned part cannot be made for these shapes.
    """

    def __init__(
        self, entry: LossEntry, parameters: Mapping[str, float], *, student: Shape = (), teacher: Shape = ()
    ) -> None:
        super().__init__()
        self._function = entry.function
        self._own = entry.own(parameters)
        self._takes_targets = Need.LABELS in entry.needs
        self._standardise = bool(parameters.get(STANDARDISE))
        self.learned = None if entry.learned is None else entry.learned(student, teacher, **self._own)

    def __call__(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss before weighting, a scalar.

        Args:
            student: What the loss needs of the student: logits [B, C], embeddings [B, D] or a feature map.
            teacher: The same of the teacher; no gradient flows to it.
            targets: int64 [B], or float [B, C] shares of mixed images; for losses that need labels.
        """
        if self._standardise:
            student, teacher = standardise(student), standardise(teacher.detach())
        if self.learned is not None:
            return self.learned(student, teacher)
        if self._takes_targets:
            return self._function(student, teacher, targets, **self._own)
        return self._function(student, teacher, **self._own)


class DistillationLoss(nn.Module):
    """The weighted sum that a recipe asks for, with its parts by name.

    It has parameters only if one of its losses has (`Need.LEARNING`). Who trains with those puts `parameters()` into
    the optimiser, `state_dict()` into the checkpoint, moves it to the device, and calls `begin_epoch`.

    Args:
        recipe: Its `losses`, `label_weight` and `label_smoothing` are used.
        serves: What the trainer hands over.

    Raises:
        ConfigError: A loss or parameter is unknown, a value is out of range, or a loss needs what is not served.
    """

    def __init__(self, recipe: Recipe, *, serves: frozenset[Need] = SERVED) -> None:
        super().__init__()
        self._label_weight = recipe.label_weight
        self._label_smoothing = recipe.label_smoothing
        self._weights: dict[str, float] = {}
        self._terms: dict[str, LossTerm] = {}
        for name, given in _asked_for(recipe).items():
            entry = LOSSES.get(name)
            _check_served(entry, serves)
            parameters = entry.resolve(given)
            self._weights[name] = parameters[WEIGHT]
            self._terms[name] = LossTerm(entry, parameters)
        # Registered for its parameters, and kept as a plain mapping for its type.
        self.terms = nn.ModuleDict(self._terms)

    @property
    def needs_teacher(self) -> bool:
        """Whether any term asks the teacher."""
        return bool(self._terms)

    def begin_epoch(self, epoch: int) -> None:
        """Tells losses that change while training the number of the epoch, from 0, before its first step."""
        for term in self._terms.values():
            if term.learned is not None:
                term.learned.begin_epoch(epoch)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor) -> dict[str, Tensor]:
        """Returns the scalar `total` and each part before weighting.

        Args:
            student_logits: [B, C].
            teacher_logits: [B, C]; None only when `needs_teacher` is false.
            targets: int64 [B], the labels, or float [B, C], each class's share of a mixed image.

        Raises:
            TeacherError: The teacher's logits are of other images or classes.
        """
        logits = wide(student_logits)
        label = cross_entropy(logits, like_logits(targets, logits), label_smoothing=self._label_smoothing)
        parts = {"label": label}
        total = self._label_weight * label
        for name, term in self._terms.items():
            assert teacher_logits is not None
            parts[name] = term(student_logits, teacher_logits, targets)
            total = total + self._weights[name] * parts[name]
        return {"total": total, **parts}


def _asked_for(recipe: Recipe) -> Mapping[str, Mapping[str, float]]:
    """Returns the recipe's losses without the control's name."""
    if NONE not in recipe.losses:
        return recipe.losses
    if len(recipe.losses) > 1:
        others = ", ".join(name for name in recipe.losses if name != NONE)
        raise ConfigError(f"recipe.losses.none: it is the control, without a teacher; leave it or {others} out")
    if recipe.losses[NONE]:
        raise ConfigError(f"recipe.losses.none.{next(iter(recipe.losses[NONE]))}: the control takes no parameters")
    return {}


def _check_served(entry: LossEntry, serves: frozenset[Need]) -> None:
    missing = " and ".join(need.meaning for need in Need if need in entry.needs - serves)
    if missing:
        known = ", ".join(name for name in LOSSES.names() if LOSSES.get(name).needs <= serves)
        raise ConfigError(
            f"recipe.losses.{entry.name}: it needs {missing}, which training does not provide yet; take one of {known}"
        )
