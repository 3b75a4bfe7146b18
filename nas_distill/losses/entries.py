"""The entry of a registered loss, and the registry of entries by name."""

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
    """An input that a loss needs. The value is the name shown to users."""

    LOGITS = "logits"
    LABELS = "labels"
    EMBEDDING = "embedding"
    FEATURES = "features"
    LEARNING = "learning"

    @property
    def meaning(self) -> str:
        """A noun phrase that describes the input."""
        return _MEANINGS[self]


_MEANINGS = {
    Need.LOGITS: "the logits of student and teacher",
    Need.LABELS: "the labels",
    Need.EMBEDDING: "the penultimate embeddings of student and teacher",
    Need.FEATURES: "a feature map of student and teacher",
    Need.LEARNING: "learned parameters, trained together with the student",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """The values that a parameter may have.

    Attributes:
        text: The rule as text that completes "must be".
        holds: Function that returns whether a value satisfies the rule.
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
        name: Name of the loss in recipes.
        function: `(student, teacher, **parameters) -> scalar`. Student and teacher are logits [B, C], embeddings [B, D]
            or feature maps [B, C, H, W], depending on `needs`. With `Need.LABELS` a third argument holds the targets,
            int64 [B] or float [B, C]. For a loss with learned parameters this is the formula that its module calls.
        learned: Constructor of the module with learned parameters. It takes the shapes of the student's and the
            teacher's features (without the batch axis) and the parameters. None for a loss that learns nothing.
        needs: Inputs of the loss.
        defaults: Default value of each parameter, `weight` included.
        rules: Rule of each parameter.
        above: Maps a parameter to another one that it must be greater than.
        equation: The formula, shown to users.
        paper: Authors, year, and arXiv number or DOI.
        label_weight: Weight of the cross-entropy with the labels that the literature uses with the default `weight`.
        uses_teacher_head: Whether the student uses the teacher's classifier instead of its own (SimKD).
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
        """Return the values of all parameters: the given ones, and the defaults of the others.

        Raises:
            ConfigError: A parameter is unknown or out of range.
        """
        for name, value in given.items():
            field = f"recipe.losses.{self.name}.{name}"
            if name not in self.defaults:
                hint = nearest_names(name, self.defaults)
                raise ConfigError(f"no such parameter; {hint}", code="losses.parameter_unknown", field=field)
            if not self.rules[name].holds(value):
                raise ConfigError(
                    f"{value} must be {self.rules[name].text}", code="losses.parameter_out_of_range", field=field
                )
        values = {**self.defaults, **given}
        for name, lower in self.above.items():
            if values[name] <= values[lower]:
                raise ConfigError(
                    f"{values[name]:g} must be above {lower}, which is {values[lower]:g}",
                    code="losses.parameter_out_of_range",
                    field=f"recipe.losses.{self.name}.{name}",
                )
        return values

    def function_parameters(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Return the arguments of `function` or `learned`: all but `weight`, `standardise` and `depth`."""
        return {name: value for name, value in parameters.items() if name not in (WEIGHT, STANDARDISE, DEPTH)}


class LossRegistry:
    """Losses by name. Each name is registered once."""

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
        """Add a loss. Its parameters and defaults are the keyword-only arguments of `learned` or else of `function`.

        Args:
            name: Name of the loss in recipes.
            function: See `LossEntry`.
            weight: Default weight in the sum of losses.
            needs: Inputs of the loss. `Need.LEARNING` is added where `learned` is given.
            equation: The formula, shown to users.
            paper: Authors, year, and arXiv number or DOI.
            learned: See `LossEntry`.
            rules: Rules of parameters. Parameters without a rule must be at least 0.
            above: See `LossEntry`.
            label_weight: See `LossEntry`.
            depth: Default of the parameter `depth` of a loss of feature maps: the share of the stages of each network
                after which its map is taken, above 0, at most 1.
            uses_teacher_head: See `LossEntry`. Such a loss compares the maps before the classifier and has no
                parameter `depth`.

        Raises:
            ValueError: The name is already registered.
        """
        if name in self._entries:
            raise ValueError(f"a loss named '{name}' is already registered")
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
        """Return all names, sorted."""
        return tuple(sorted(self._entries))

    def get(self, name: str) -> LossEntry:
        """Return the loss with this name.

        Raises:
            ConfigError: No loss has this name.
        """
        if name not in self._entries:
            hint = nearest_names(name, self._entries)
            raise ConfigError(f"no loss is called '{name}'; {hint}", code="losses.unknown", field="recipe.losses")
        return self._entries[name]
