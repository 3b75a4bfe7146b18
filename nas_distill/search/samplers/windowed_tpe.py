"""A TPE sampler whose proposals take as long in a study of thousands of trials as in one of hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import moocore
import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_distill.optuna_private import restrict_study

BEST, LATEST = 50, 250
"""Numbers of best and of latest trials that TPE sees in a long study."""


class WindowedTPESampler(TPESampler):
    """TPE over a bounded number of trials.

    TPE compares the best trials, at most 25, with all others, and gives older ones less weight. Its time grows with the
    number of trials, once for each group of parameters that are suggested together. This sampler shows TPE only the
    `BEST` trials by non-dominated layers, the `LATEST` finished trials and the running ones, selected once per
    proposal. In a study of at most `BEST + LATEST` trials it proposes exactly what Optuna's `TPESampler` proposes.

    Args:
        **options: Arguments of `optuna.samplers.TPESampler`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._window = StudyWindow()
        self._visible: Study | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See `BaseSampler`."""
        self._visible = self._window.update(study)
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        return super().infer_relative_search_space(self._visible or study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return super().sample_relative(self._visible or study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See `BaseSampler`."""
        return super().sample_independent(self._visible or study, trial, param_name, param_distribution)


class StudyWindow:
    """Selects the visible trials of one study, reading only trials that changed since the last update."""

    def __init__(self) -> None:
        self._best: list[FrozenTrial] = []
        self._unfinished: list[int] = []
        self._known = 0

    def update(self, study: Study) -> Study:
        """Return a view of the study with its visible trials.

        Args:
            study: The same study in every call.

        Returns:
            The study itself while it has at most `BEST + LATEST` trials.
        """
        trials = study.get_trials(deepcopy=False)
        changed = [trials[number] for number in (*self._unfinished, *range(self._known, len(trials)))]
        self._known = len(trials)
        self._unfinished = [trial.number for trial in changed if not trial.state.is_finished()]
        complete = [trial for trial in changed if trial.state is TrialState.COMPLETE]
        self._best = _select_best(study.directions, [*self._best, *complete])
        if len(trials) <= BEST + LATEST:
            return study
        finished = (trial for trial in reversed(trials) if trial.state in {TrialState.COMPLETE, TrialState.PRUNED})
        running = [trial for trial in changed if trial.state is TrialState.RUNNING]
        visible = {trial.number: trial for trial in (*self._best, *islice(finished, LATEST), *running)}
        return restrict_study(study, [visible[number] for number in sorted(visible)])


def _select_best(directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the `BEST` complete trials by non-dominated layers; within the last layer, the latest trials."""
    if len(trials) <= BEST:
        return list(trials)
    signs = [1.0 if direction is StudyDirection.MINIMIZE else -1.0 for direction in directions]
    latest = sorted(trials, key=lambda trial: -trial.number)
    layers = moocore.pareto_rank(np.array([trial.values for trial in latest]) * signs)
    return [latest[row] for row in np.argsort(layers, kind="stable")[:BEST]]
