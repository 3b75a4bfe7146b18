"""The contenders of `distillation_gain.py`: every way to distil that is compared, by name.

A name is that of a loss, alone or with changes: `kd`, `kd+standardise`, `dist+confidence+until-half`.
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
    "until-half": {"teacher_until": 0.5},
    "confidence": {"sample_weighting": "confidence"},
    "correctness": {"sample_weighting": "correctness"},
    "release": {"release": True},
}
CHANGED = (
    "kd+standardise",
    "dkd+standardise",
    "ctkd+standardise",
    *(f"kd+{change}" for change in CHANGES if change != "standardise"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to distil.

    Attributes:
        name: What it is called in the tables.
        recipe: How.
    """

    name: str
    recipe: Recipe

    @property
    def online(self) -> bool:
        """Whether the teacher must be asked at every step: what feature losses compare is not stored."""
        return any(Need.FEATURES in LOSSES.get(loss).needs for loss in self.recipe.losses)

    @property
    def answers(self) -> str:
        """Where the teacher's answers come from, in words."""
        if not self.recipe.losses:
            return "none"
        return "asked online" if self.online else "stored"

    @property
    def settings(self) -> str:
        """The recipe's weights, and what it sets besides, in words."""
        words = []
        for loss, given in self.recipe.losses.items():
            entry = LOSSES.get(loss)
            values = entry.resolve(given)
            shown = {name: value for name, value in values.items() if name == "weight" or value != entry.defaults[name]}
            words += [f"{name} {value:g}" for name, value in shown.items()]
        words.append(f"label weight {self.recipe.label_weight:g}")
        adaptive = self.recipe.adaptive.model_dump(exclude_defaults=True)
        return ", ".join([*words, *(f"{name} {value}" for name, value in adaptive.items())])


def default_names() -> list[str]:
    """Return the control, every shipped loss, and what `CHANGED` adds."""
    return [NONE, *LOSSES.names(), *CHANGED]


def make_contender(
    name: str, *, epochs: int, given: Mapping[str, Settings] | None = None, more: Settings | None = None
) -> Contender:
    """Return the contender called `name`.

    The registry's defaults are overridden by what is given for the loss, this by the changes in the name, this by what
    is given for the whole name, and this by `more`.

    Args:
        name: A loss, perhaps with changes, or `none`.
        epochs: Of its training.
        given: Name of a loss or of a contender -> settings.
        more: Further settings; they become part of its name.

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
    """Return settings by contender from texts of the form `CONTENDER.PARAMETER=VALUE`.

    Raises:
        ConfigError: A text has another form.
    """
    given: dict[str, dict[str, float]] = {}
    for text in texts:
        place, _, value = text.partition("=")
        contender, _, parameter = place.rpartition(".")
        if not contender:
            raise ConfigError(f"--set {text}: names no loss; the form is LOSS.PARAMETER=VALUE")
        given.setdefault(contender, {})[parameter] = _number(value, text, "LOSS.PARAMETER=VALUE")
    return given


def sweep(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each combination of a text such as `dist:weight=0.3,1,3:label_weight=0.1,1`: contender and settings.

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
    """Return the control and all contenders that are asked for, each once.

    Raises:
        ConfigError: As from `make_contender`, `sweep`; or settings are given for a contender that is not compared.
    """
    swept = [(name, settings) for text in sweeps for name, settings in sweep(text)]
    known = {NONE, *names, *(name for name, _ in swept)}
    known |= {name.partition("+")[0] for name in known}
    for name in given:
        if name not in known:
            raise ConfigError(f"--set {name}: is not compared; {nearest_names(name, known)}")
    made = [make_contender(name, epochs=epochs, given=given) for name in (NONE, *names)]
    made += [make_contender(name, epochs=epochs, given=given, more=settings) for name, settings in swept]
    return list({contender.name: contender for contender in made}.values())


def _change(entry: LossEntry, change: str) -> dict[str, Any]:
    if change not in CHANGES:
        raise ConfigError(f"--losses {entry.name}+{change}: no such change; {nearest_names(change, CHANGES)}")
    # A loss that finds or fixes its temperatures itself has no parameter for one.
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
            raise ConfigError(f"{entry.name}.{name}: no such parameter; {nearest_names(name, known)}")
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
        raise ConfigError(f"{entry.name}: {field}: {first['msg']} (found {first['input']!r:.80})") from None


def _number(value: str, text: str, form: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{text}: '{value}' is no number; the form is {form}") from None
