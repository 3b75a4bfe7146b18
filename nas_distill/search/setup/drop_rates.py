"""Finds families of a space whose networks have no dropout or no stochastic depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nas_distill.errors import SpaceError
from nas_distill.models.student import ignored_rates
from nas_distill.records import Recipe, SpaceContext, StudentSpec
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import Space

_SAMPLED_CANDIDATES = 64

_FIELDS: Mapping[str, tuple[str, str]] = {
    "drop_rate": ("dropout", "dropout"),
    "drop_path_rate": ("drop_path", "stochastic depth"),
}
"""Field of the recipe and name of what it sets, by constructor argument."""


def explain_ignored_rates(space: Space, context: SpaceContext, recipe: Recipe, *, seed: int) -> Iterator[str]:
    """Yield one line for each rate of a recipe that some families of a space ignore.

    Args:
        space: Space of the search; the families of a few random candidates are checked.
        context: Data, teacher and limits of the search.
        recipe: Recipe of the students.
        seed: Seed of the candidates.

    Raises:
        SpaceError: The space raised an exception.
    """
    used = [name for name, (field, _) in _FIELDS.items() if getattr(recipe, field) > 0]
    if not used:
        return
    found: dict[str, StudentSpec] = {}
    for spec in sample_space(space, _SAMPLED_CANDIDATES, seed, context):
        found.setdefault(spec.family, spec)
    ignored = {family: _ignored(spec, context) for family, spec in sorted(found.items())}
    for name in used:
        field, meaning = _FIELDS[name]
        families = [family for family, rates in ignored.items() if name in rates]
        if families:
            yield f"recipe.{field} has no effect on students of {', '.join(families)}: they have no {meaning}"


def _ignored(spec: StudentSpec, context: SpaceContext) -> frozenset[str]:
    try:
        return ignored_rates(
            spec, num_classes=context.num_classes, channels=context.channels, image_size=context.image_size
        )
    except SpaceError:  # the search rejects this candidate
        return frozenset()
