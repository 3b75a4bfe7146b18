"""The losses by name, and the weighted sum of them that a recipe asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from torch.nn.functional import cross_entropy

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.losses import functional
from nas_distill.records import Recipe

LossFunction = Callable[..., Tensor]
WEIGHT = "weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossEntry:
    """One loss of the registry.

    Attributes:
        name: What recipes call it.
        function: `(student_logits [B, C], teacher_logits [B, C], **parameters) -> scalar`.
        defaults: Its parameters with their defaults, `weight` among them.
        positive: Parameters that must be above 0; all others must be at least 0.
        equation: For people.
        paper: Authors, year, arXiv number.
    """

    name: str
    function: LossFunction
    defaults: Mapping[str, float]
    positive: frozenset[str]
    equation: str
    paper: str

    def resolve(self, given: Mapping[str, float]) -> dict[str, float]:
        """Returns all parameters: those given over the defaults.

        Raises:
            ConfigError: A parameter is unknown or out of range.
        """
        for name, value in given.items():
            field = f"recipe.losses.{self.name}.{name}"
            if name not in self.defaults:
                raise ConfigError(f"{field}: no such parameter; {nearest_names(name, self.defaults)}")
            if value < 0 or (name in self.positive and value == 0):
                rule = "above 0" if name in self.positive else "at least 0"
                raise ConfigError(f"{field}: {value} must be {rule}")
        return {**self.defaults, **given}


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
        positive: tuple[str, ...],
        equation: str,
        paper: str,
    ) -> None:
        """Adds a loss; its keyword-only parameters and their defaults are read off its signature.

        Args:
            name: What recipes call it.
            function: See `LossEntry`.
            weight: Default weight in the sum.
            positive: Parameters that must be above 0.
            equation: For people.
            paper: Authors, year, arXiv number.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._entries:
            raise ValueError(f"a loss called '{name}' is registered already")
        parameters = inspect.signature(function).parameters.values()
        defaults = {p.name: float(p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        self._entries[name] = LossEntry(
            name=name,
            function=function,
            defaults=MappingProxyType({WEIGHT: weight, **defaults}),
            positive=frozenset(positive),
            equation=equation,
            paper=paper,
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


LOSSES = LossRegistry()
LOSSES.register(
    "kd",
    functional.kd,
    weight=0.9,
    positive=("temperature",),
    equation="T^2 mean_i KL(softmax(t_i/T) || softmax(s_i/T))",
    paper="Hinton, Vinyals and Dean 2015, arXiv 1503.02531",
)


class DistillationLoss:
    """The weighted sum that a recipe asks for, with its parts by name.

    Args:
        recipe: Its `losses`, `label_weight` and `label_smoothing` are used.

    Raises:
        ConfigError: A loss or parameter is unknown, or a value is out of range.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._label_weight = recipe.label_weight
        self._label_smoothing = recipe.label_smoothing
        self._terms: list[tuple[LossEntry, float, dict[str, float]]] = []
        for name, given in recipe.losses.items():
            entry = LOSSES.get(name)
            parameters = entry.resolve(given)
            self._terms.append((entry, parameters.pop(WEIGHT), parameters))

    @property
    def needs_teacher(self) -> bool:
        """Whether any term asks the teacher."""
        return bool(self._terms)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor) -> dict[str, Tensor]:
        """Returns the scalar `total` and each part before weighting.

        Args:
            student_logits: [B, C].
            teacher_logits: [B, C]; None only when `needs_teacher` is false.
            labels: int64 [B].
        """
        label = cross_entropy(student_logits.float(), labels, label_smoothing=self._label_smoothing)
        parts = {"label": label}
        total = self._label_weight * label
        for entry, weight, parameters in self._terms:
            parts[entry.name] = entry.function(student_logits, teacher_logits, **parameters)
            total = total + weight * parts[entry.name]
        return {"total": total, **parts}
