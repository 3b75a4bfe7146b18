"""Draws candidates from a space at random, without a run."""

from __future__ import annotations

import optuna

from nas_distill.records import StudentSpec
from nas_distill.search.spaces import Space, propose


def sample_space(space: Space, n: int, seed: int) -> tuple[StudentSpec, ...]:
    """Returns `n` candidates drawn independently and uniformly; the same may come twice.

    Args:
        space: Where to draw from.
        n: How many.
        seed: Equal seeds draw equal candidates.

    Raises:
        SpaceError: The space raised, or returned something else than a `StudentSpec`.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        return tuple(propose(space, study.ask()) for _ in range(n))
    finally:
        optuna.logging.set_verbosity(verbosity)
