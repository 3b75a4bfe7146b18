"""Fixed candidates for all compared searches, so that their samplers do not affect the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import optuna

from benchmarks.common.space_context import context_of
from nas_distill.records import Cost, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from search_spaces import tiny

CONTEXT = context_of(
    NetworkShape(num_classes=10, channels=1, image_size=8),
    Cost(num_params=1_000_000, macs=10_000_000, size_bytes=4_000_000),
)

_SPACE = '''"""Trial number n gets candidate number n of a list."""

import json
from pathlib import Path

from nas_distill.records import StudentSpec

CANDIDATES = json.loads(Path(__file__).with_suffix(".json").read_text())


def space(trial):
    """Return the next candidate of the list; the sampler chooses a number that is not used."""
    trial.suggest_float("unused", 0.0, 1.0)
    architecture, arguments = CANDIDATES[trial.number % len(CANDIDATES)]
    return StudentSpec(architecture=architecture, arguments=arguments)
'''


def write_candidates(folder: Path, *, count: int, seed: int) -> Path:
    """Draw distinct candidates from the space `tiny` at random.

    Args:
        folder: Folder for `candidates.json` (pairs of architecture and arguments) and `candidates.py` (a search space
            that proposes these candidates in order).
        count: Number of candidates.
        seed: Seed of the random sampler.

    Returns:
        Path of `candidates.json`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    specs: dict[str, StudentSpec] = {}
    while len(specs) < count:
        spec = tiny.space(study.ask(), CONTEXT)
        specs.setdefault(spec.spec_id, spec)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "candidates.json"
    path.write_text(json.dumps([(spec.architecture, spec.keyword_arguments()) for spec in specs.values()]))
    path.with_suffix(".py").write_text(_SPACE)
    return path
