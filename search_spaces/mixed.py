"""All shipped families."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceMisfitError, SpaceTrial, StudentSpec
from search_spaces.choices import FAMILIES, families_for, joint_info

INFO = joint_info(tuple(FAMILIES))


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """All shipped families that are meant for images of this size.

    Searches the family and the parameters of its space. All families share the budget of the search; if it allows only
    a few trials per family, use `auto` or the space of one family.

    Args:
        trial: Trial that suggests the parameters.
        context: Data, teacher and limits of the search.

    Returns:
        Candidate of the chosen family's space.

    Raises:
        SpaceMisfitError: No family is meant for images of this size.
    """
    names = families_for(context.image_size)
    if not names:
        raise SpaceMisfitError(
            f"no family is meant for images of {context.image_size} pixels; set another --image-size"
        )
    function, _ = FAMILIES[trial.suggest_categorical("family", names)]
    return function(trial, context)


def describe(context: SpaceContext) -> str:
    """Return what the space chose for a search, one line."""
    return f"{', '.join(families_for(context.image_size))} for images of {context.image_size} pixels"
