"""What many tests of the report would compute again."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from nas_distill.analysis.effects import effects, importance
from nas_distill.analysis.effects.importance import Errors, Floats

_ERRORS: dict[Hashable, Errors] = {}


@pytest.fixture
def known_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-validate the effects of parameters once for equal trials: it fits 1,500 trees."""

    def errors(logs: Floats, gaps: Floats, values: Floats, *, repetitions: int, seed: int) -> Errors:
        key = (logs.tobytes(), gaps.tobytes(), values.tobytes(), values.shape, repetitions, seed)
        if key not in _ERRORS:
            _ERRORS[key] = importance.out_of_fold_errors(logs, gaps, values, repetitions=repetitions, seed=seed)
        return _ERRORS[key]

    monkeypatch.setattr(effects, "out_of_fold_errors", errors)
