"""Contenders of `benchmarks.distillation`: the ways to distil that are compared, by name.

A name is a loss, alone or with changes, such as `kd`, `kd+standardise` or `dist+confidence+until-half`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.losses.registry import LOSSES, NONE, LossEntry, Need
from nas_distill.records import Recipe
from nas_distill.records.recipe import Adaptation

Settings = Mapping[str, Any]
"""Parameters of a loss, `label_weight`, and fields of `Adaptation`, by name."""

LABEL_WEIGHT = "label_weight"
CHANGES: dict[str, Settings] = {
    # Sun et al. 2024, arXiv 2403.01427
    "standardise": {"standardise": 1.0, "temperature": 2.0, "weight": 9.0, LABEL_WEIGHT: 0.1},
    "anneal-cosine": {"weight_schedule": "cosine", "weight_end": 0.0},
    "anneal-temperature": {"temperature_schedule": "cosine", "temperature_end": 1.0},
    "until-half": {"teacher_until": 0.5},
    "confidence": {"sample_weighting": "confidence"},
    "correctness": {"sample_weighting": "correctness"},
    "release": {"release": True},
}
CHANGED = (
    "kd+standardise",
    "dkd+standardise",
    "ctkd+standardise",
    *(f"kd+{change}" for change in CHANGES if change not in ("standardise", "anneal-temperature")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to distil.

    Attributes:
        name: Name in the tables.
        recipe: Recipe of the trainings.
    """

    name: str
    recipe: Recipe

    @property
    def online(self) -> bool:
        """Whether the teacher must run at every step: the feature maps that feature losses compare are not stored."""
        return any(Need.FEATURES in LOSSES.get(loss).needs for loss in self.recipe.losses)

    @property
    def outputs(self) -> str:
        """Source of the teacher's outputs, as text."""
        if not self.recipe.losses:
            return "none"
        return "online" if self.online else "stored"

    @property
    def settings(self) -> str:
        """Weights of the recipe and all settings that differ from the defaults, as text."""
        parts = []
        for loss, given in self.recipe.losses.items():
            entry = LOSSES.get(loss)
            values = entry.resolve(given)
            shown = {name: value for name, value in values.items() if name == "weight" or value != entry.defaults[name]}
            parts += [f"{name} {value:g}" for name, value in shown.items()]
        parts.append(f"label weight {self.recipe.label_weight:g}")
        adaptive = self.recipe.adaptive.model_dump(exclude_defaults=True)
        return ", ".join([*parts, *(f"{name} {value}" for name, value in adaptive.items())])


def default_names() -> list[str]:
    """Return the control, all shipped losses and the contenders of `CHANGED`."""
    return [NONE, *LOSSES.names(), *CHANGED]


def make_contender(
    name: str, *, epochs: int, given: Mapping[str, Settings] | None = None, more: Settings | None = None
) -> Contender:
    """Return the contender called `name`.

    Settings override each other in this order, the last one wins: defaults of the registry, settings of the loss,
    changes in the name, settings of the whole name, `more`.

    Args:
        name: Loss, with or without changes, or `none`.
        epochs: Epochs of the training.
        given: Settings by name of a loss or contender.
        more: Further settings, which become part of the contender's name.

    Raises:
        ConfigError: A loss, change or parameter is unknown, or a value breaks a rule.
    """
    if name == NONE:
        return Contender(name=NONE, recipe=Recipe(losses={}, label_weight=1.0, epochs=epochs))
    given = given or {}
    loss, *changes = name.split("+")
    entry = LOSSES.get(loss)
    settings = {LABEL_WEIGHT: entry.label_weight, **given.get(loss, {})}
    for change in changes:
        settings |= _change(entry, change)
    settings |= {**(given.get(name, {}) if changes else {}), **(more or {})}
    parts = [f"{parameter} {value:g}" for parameter, value in (more or {}).items()]
    return Contender(name=" ".join([name, *parts]), recipe=_recipe(entry, settings, epochs))


def parse_given(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Parse settings of the form `CONTENDER.PARAMETER=VALUE` and return them by contender.

    Raises:
        ConfigError: A text has another form.
    """
    given: dict[str, dict[str, float]] = {}
    for text in texts:
        target, _, value = text.partition("=")
        contender, _, parameter = target.rpartition(".")
        if not contender:
            raise ConfigError(
                f"'{text}' names no loss; the form is LOSS.PARAMETER=VALUE",
                code="config.not_an_assignment",
                field="--set",
            )
        given.setdefault(contender, {})[parameter] = _number(value, text, "LOSS.PARAMETER=VALUE")
    return given


def sweep(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield name and settings of each combination of a text such as `dist:weight=0.3,1,3:label_weight=0.1,1`.

    Raises:
        ConfigError: The text has another form.
    """
    name, *axes = text.split(":")
    values: dict[str, list[float]] = {}
    for axis in axes:
        parameter, _, numbers = axis.partition("=")
        values[parameter] = [_number(number, text, "LOSS:PARAMETER=V1,V2:...") for number in numbers.split(",")]
    for combination in itertools.product(*values.values()):
        yield name, dict(zip(values, combination, strict=True))


def gather(
    names: Sequence[str], sweeps: Iterable[str], *, epochs: int, given: Mapping[str, Settings]
) -> list[Contender]:
    """Return the control and all requested contenders, without repetitions.

    Raises:
        ConfigError: As for `make_contender` and `sweep`; or there are settings for a contender that is not compared.
    """
    swept = [(name, settings) for text in sweeps for name, settings in sweep(text)]
    known = {NONE, *names, *(name for name, _ in swept)}
    known |= {name.partition("+")[0] for name in known}
    for name in given:
        if name not in known:
            raise ConfigError(
                f"'{name}' is not compared; {nearest_names(name, known)}",
                code="config.conflicting_values",
                field="--set",
            )
    made = [make_contender(name, epochs=epochs, given=given) for name in (NONE, *names)]
    made += [make_contender(name, epochs=epochs, given=given, more=settings) for name, settings in swept]
    return list({contender.name: contender for contender in made}.values())


def _change(entry: LossEntry, change: str) -> dict[str, Any]:
    if change not in CHANGES:
        raise ConfigError(
            f"{entry.name}+{change}: there is no change '{change}'; {nearest_names(change, CHANGES)}",
            code="losses.unknown", field="--losses",
        )  # fmt: skip
    # Losses that choose or fix their temperatures have no parameter `temperature`.
    return {
        name: value
        for name, value in CHANGES[change].items()
        if name != "temperature" or name in entry.defaults
    }  # fmt: skip


def _recipe(entry: LossEntry, settings: Settings, epochs: int) -> Recipe:
    own = {name: value for name, value in settings.items() if name in entry.defaults}
    adaptive = {name: value for name, value in settings.items() if name in Adaptation.model_fields}
    for name in settings:
        if name not in {LABEL_WEIGHT, *own, *adaptive}:
            known = [LABEL_WEIGHT, *entry.defaults, *Adaptation.model_fields]
            raise ConfigError(
                f"there is no such parameter; {nearest_names(name, known)}",
                code="losses.parameter_unknown", field=f"{entry.name}.{name}",
            )  # fmt: skip
    entry.resolve(own)
    try:
        return Recipe(
            losses={entry.name: own},
            label_weight=settings[LABEL_WEIGHT],
            adaptive=Adaptation(**adaptive),
            epochs=epochs,
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise ConfigError(
            f"{first['msg']} (found {first['input']!r:.80})", code="config.invalid_value", field=f"{entry.name}.{field}"
        ) from None


def _number(value: str, text: str, form: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(
            f"'{value}' in '{text}' is not a number; the form is {form}", code="config.invalid_value"
        ) from None
