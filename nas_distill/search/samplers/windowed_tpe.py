"""TPE that takes as long in a study of thousands of trials as in one of hundreds."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import islice
from typing import Any, cast

import moocore
import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

BEST, LATEST = 50, 250
"""Trials that TPE looks at in a long study: so many of the best, and of the latest."""


class WindowedTPESampler(TPESampler):
    """TPE over a bounded number of trials, so that a proposal takes as long in a study of thousands as of hundreds.

    TPE compares the best trials, at most 25 of them, with all others, of which older ones weigh less. It costs time in
    proportion to their number, once for every group of parameters that are asked for together. Here it sees the
    `BEST` by non-dominated layers, the `LATEST` that ended, and those in flight, chosen once per proposal; in a study
    of up to as many trials it sees all, and proposes what Optuna's own would.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._window = StudyWindow()
        self._seen: Study | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See `BaseSampler`."""
        self._seen = self._window.of(study)
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        return super().infer_relative_search_space(self._seen or study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return super().sample_relative(self._seen or study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See `BaseSampler`."""
        return super().sample_independent(self._seen or study, trial, param_name, param_distribution)


class _SeenStudy:
    """A study of which only some trials are seen, by way of what Optuna's samplers read them with."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._seen = trials

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        del deepcopy, use_cache
        return [trial for trial in self._seen if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


class StudyWindow:
    """What is seen of one study: looks only at what has happened since it looked last."""

    def __init__(self) -> None:
        self._best: list[FrozenTrial] = []
        self._unfinished: list[int] = []
        self._known = 0

    def of(self, study: Study) -> Study:
        """Returns what is seen of the study now; always ask about the same study."""
        trials = study.get_trials(deepcopy=False)
        fresh = [trials[number] for number in (*self._unfinished, *range(self._known, len(trials)))]
        self._known = len(trials)
        self._unfinished = [trial.number for trial in fresh if not trial.state.is_finished()]
        complete = [trial for trial in fresh if trial.state is TrialState.COMPLETE]
        self._best = _best_of(study.directions, [*self._best, *complete])
        if len(trials) <= BEST + LATEST:
            return study
        learnt = (trial for trial in reversed(trials) if trial.state in {TrialState.COMPLETE, TrialState.PRUNED})
        flying = [trial for trial in fresh if trial.state is TrialState.RUNNING]
        seen = {trial.number: trial for trial in (*self._best, *islice(learnt, LATEST), *flying)}
        return cast("Study", _SeenStudy(study, [seen[number] for number in sorted(seen)]))


def _best_of(directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the `BEST` of complete trials by non-dominated layers; of a layer, the latest."""
    if len(trials) <= BEST:
        return list(trials)
    signs = [1.0 if direction is StudyDirection.MINIMIZE else -1.0 for direction in directions]
    latest = sorted(trials, key=lambda trial: -trial.number)
    layers = moocore.pareto_rank(np.array([trial.values for trial in latest]) * signs)
    return [latest[row] for row in np.argsort(layers, kind="stable")[:BEST]]
