"""What a registered loss is, and the registry that holds them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from torch import Tensor

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.losses.learned import LearnedLoss

LossFunction = Callable[..., Tensor]
WEIGHT = "weight"
STANDARDISE = "standardise"
DEPTH = "depth"
TEMPERATURE_NAME = "temperature"


class Need(StrEnum):
    """What a loss must be handed; the values are how people read it."""

    LOGITS = "logits"
    LABELS = "labels"
    EMBEDDING = "embedding"
    FEATURES = "features"
    LEARNING = "learning"

    @property
    def meaning(self) -> str:
        """What that is, as part of a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Need.LOGITS: "the logits of student and teacher",
    Need.LABELS: "the labels",
    Need.EMBEDDING: "the penultimate embeddings of student and teacher",
    Need.FEATURES: "a feature map of student and teacher",
    Need.LEARNING: "parameters of its own, trained along with the student",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a parameter may be.

    Attributes:
        text: Completes "must be".
        holds: Whether a value unreleased it.
    """

    text: str
    holds: Callable[[float], bool]


AT_LEAST_0 = Rule("at least 0", lambda value: value >= 0)
ABOVE_0 = Rule("above 0", lambda value: value > 0)
AT_LEAST_1 = Rule("at least 1", lambda value: value >= 1)
TEMPERATURE = Rule("above 0 (0.01 to 1000)", lambda value: 0.01 <= value <= 1000)
DEPTH_RULE = Rule("above 0, at most 1", lambda value: 0 < value <= 1)
SWITCH = Rule("0 or 1", lambda value: value in (0, 1))
WHOLE = Rule("a whole number of at least 0", lambda value: value >= 0 and value == int(value))
COUNT = Rule("a whole number of at least 1", lambda value: value >= 1 and value == int(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossEntry:
    """One loss of the registry.

    Attributes:
        name: What recipes call it.
        function: `(student, teacher, **parameters) -> scalar`, of what it needs: logits [B, C], embeddings [B, D] or
            feature maps [B, C, H, W]. With `Need.LABELS` the targets follow the teacher, int64 [B] or float [B, C].
            Of a loss with a learned part it is the formula behind that part.
        learned: The learned part, made of both shapes (without the batch) and the parameters; None where there is none.
        needs: What it must be handed.
        defaults: Its parameters with their defaults, `weight` among them.
        rules: What each parameter may be.
        above: Parameters that must be above another one -> that other one.
        equation: For people.
        paper: Authors, year, arXiv number or doi.
        label_weight: Weight of cross-entropy with the labels beside the default weight, in the literature.
        uses_teacher_head: Whether the student answers through the teacher's classifier.
    """

    name: str
    function: LossFunction
    learned: Callable[..., LearnedLoss] | None
    needs: frozenset[Need]
    defaults: Mapping[str, float]
    rules: Mapping[str, Rule]
    above: Mapping[str, str]
    equation: str
    paper: str
    label_weight: float
    uses_teacher_head: bool = False

    def resolve(self, given: Mapping[str, float]) -> dict[str, float]:
        """Returns all parameters: those given over the defaults.

        Raises:
            ConfigError: A parameter is unknown or out of range.
        """
        for name, value in given.items():
            field = f"recipe.losses.{self.name}.{name}"
            if name not in self.defaults:
                raise ConfigError(f"{field}: no such parameter; {nearest_names(name, self.defaults)}")
            if not self.rules[name].holds(value):
                raise ConfigError(f"{field}: {value} must be {self.rules[name].text}")
        values = {**self.defaults, **given}
        for name, lower in self.above.items():
            if values[name] <= values[lower]:
                raise ConfigError(
                    f"recipe.losses.{self.name}.{name}: {values[name]:g} must be above {lower}, {values[lower]:g}"
                )
        return values

    def function_parameters(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Returns the parameters that the loss itself takes: all but `weight`, `standardise` and `depth`."""
        return {name: value for name, value in parameters.items() if name not in (WEIGHT, STANDARDISE, DEPTH)}


class LossRegistry:
    """Losses by name; a name is registered once."""

    def __init__(self) -> None:
        self._entries: dict[str, LossEntry] = {}

    def register(
        self,
        name: str,
        function: LossFunction,
        *,
        weight: float,
        needs: Iterable[Need],
        equation: str,
        paper: str,
        learned: Callable[..., LearnedLoss] | None = None,
        rules: Mapping[str, Rule] = MappingProxyType({}),
        above: Mapping[str, str] = MappingProxyType({}),
        label_weight: float = 1.0,
        depth: float = 1.0,
        uses_teacher_head: bool = False,
    ) -> None:
        """Adds a loss; its keyword-only parameters and their defaults are read off a signature.

        Args:
            name: What recipes call it.
            function: See `LossEntry`.
            weight: Default weight in the sum.
            needs: What it must be handed, but for `Need.LEARNING`, which a learned part implies.
            equation: For people.
            paper: Authors, year, arXiv number or doi.
            learned: See `LossEntry`; where there is one, its signature counts, otherwise the function's.
            rules: Of parameters; the others must be at least 0.
            above: See `LossEntry`.
            label_weight: See `LossEntry`.
            depth: Of a loss of feature maps: the share of both networks' stages after which they are taken.
            uses_teacher_head: See `LossEntry`; then the map is the one before the classifier, and `depth` no parameter.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._entries:
            raise ValueError(f"a loss called '{name}' is registered already")
        parameters = inspect.signature(learned or function).parameters.values()
        defaults = {p.name: float(p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        shared = {WEIGHT: weight}
        if Need.LOGITS in needs:
            shared[STANDARDISE] = 0.0
        if Need.FEATURES in needs and not uses_teacher_head:
            shared[DEPTH] = depth
        defaults = {**shared, **defaults}
        given = {STANDARDISE: SWITCH, DEPTH: DEPTH_RULE, **rules}
        self._entries[name] = LossEntry(
            name=name,
            function=function,
            learned=learned,
            needs=frozenset(needs) | (frozenset() if learned is None else {Need.LEARNING}),
            defaults=MappingProxyType(defaults),
            rules=MappingProxyType({parameter: given.get(parameter, AT_LEAST_0) for parameter in defaults}),
            above=MappingProxyType(dict(above)),
            equation=equation,
            paper=paper,
            label_weight=label_weight,
            uses_teacher_head=uses_teacher_head,
        )

    def names(self) -> tuple[str, ...]:
        """Returns all names, sorted."""
        return tuple(sorted(self._entries))

    def get(self, name: str) -> LossEntry:
        """Returns the loss called `name`.

        Raises:
            ConfigError: There is none.
        """
        if name not in self._entries:
            raise ConfigError(f"recipe.losses: no loss is called '{name}'; {nearest_names(name, self._entries)}")
        return self._entries[name]
