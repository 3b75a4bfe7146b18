"""The same candidates, in the same order, for every search that is compared: what the samplers draw is not measured."""

from __future__ import annotations

import json
from pathlib import Path

import optuna

from nas_distill.records import StudentSpec
from search_spaces import tiny

_SPACE = '''"""Candidate number n of a list to trial number n."""

import json
from pathlib import Path

from nas_distill.records import StudentSpec

CANDIDATES = json.loads(Path(__file__).with_suffix(".json").read_text())


def space(trial):
    """Hands out the list; the sampler has one number to choose, which nothing uses."""
    trial.suggest_float("unused", 0.0, 1.0)
    architecture, arguments = CANDIDATES[trial.number % len(CANDIDATES)]
    return StudentSpec(architecture=architecture, arguments=arguments)
'''


def write_candidates(folder: Path, *, count: int, seed: int) -> Path:
    """Draws different candidates from the space `tiny` at random.

    Args:
        folder: Gets `candidates.json`, pairs of architecture and arguments, and `candidates.py`, a search space that
            hands them out.
        count: How many.
        seed: Of the draw.

    Returns:
        The path of `candidates.json`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    specs: dict[str, StudentSpec] = {}
    while len(specs) < count:
        spec = tiny.space(study.ask())
        specs.setdefault(spec.spec_id, spec)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "candidates.json"
    path.write_text(json.dumps([(spec.architecture, spec.keyword_arguments()) for spec in specs.values()]))
    path.with_suffix(".py").write_text(_SPACE)
    return path
