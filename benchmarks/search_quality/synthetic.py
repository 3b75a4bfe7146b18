"""A table of synthetic curves for candidates of the real spaces, for tests and quick runs."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.common.space_context import context_of
from benchmarks.search_quality.candidates import Candidate, CandidateSource, draw
from benchmarks.search_quality.curve_table import CurveTable, Floats, Row
from benchmarks.search_quality.curves import training_seed
from nas_distill.config import SearchConfig, SpaceConfig, TeacherConfig
from nas_distill.records import RANDOM, Cost, Normalisation, Recipe, TeacherRecord
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.proposal.limits import make_limits

_CLASSES = tuple(f"class {number}" for number in range(10))
TEACHER = TeacherRecord(
    architecture="small_resnet",
    weights_sha256="0" * 64,
    class_names=_CLASSES,
    normalisation=Normalisation(mean=(0.5,), std=(0.5,)),
    cost=Cost(num_params=700_000, macs=10_000_000, size_bytes=2_800_000),
    top1=0.98,
    nll_nats=0.1,
    class_top1=(0.98,) * 10,
    class_counts=(30,) * 10,
    data_id="synthetic",
)


def synthetic_table(*, candidates: int, epochs: int, second_seed: int = 0, seed: int = 0) -> CurveTable:
    """Return a table of the space `tiny` in which large students reach smaller gaps, but learn more slowly.

    Args:
        candidates: Number of candidates.
        epochs: Epochs per training.
        second_seed: Number of candidates with a second replicate.
        seed: Seed of candidates and noise.
    """
    source = synthetic_source(epochs=epochs)
    drawn = draw(source, count=candidates, seed=seed)
    rows = [
        _row(candidate, replicate, training_seed(seed, candidate.number, replicate), epochs)
        for candidate in drawn
        for replicate in range(2 if candidate.number < second_seed else 1)
    ]
    provenance = {
        "space": source.space.name,
        "recipe_space": source.recipes.name,
        "base_recipe": source.base.model_dump(mode="json"),
        "distributions": {name: text for candidate in drawn for name, text in candidate.distributions.items()},
        "epochs": epochs,
        "max_macs": None,
        "data": "synthetic",
        "image_size": 8,
        "channels": 1,
        "teacher": TEACHER.model_dump(mode="json"),
    }
    return CurveTable(rows=tuple(rows), provenance=provenance)


def synthetic_source(*, epochs: int) -> CandidateSource:
    """Return the source of a synthetic table's candidates."""
    config = SearchConfig(
        teacher=TeacherConfig(model="local-dir:synthetic"),
        space=SpaceConfig(name="tiny", recipe="search", initial_weights=(RANDOM,)),
        recipe=Recipe(epochs=epochs, batch_size=32),
    )
    shape = NetworkShape(num_classes=10, channels=1, image_size=8)
    context = context_of(shape, TEACHER.cost, make_limits(config.space, TEACHER.cost))
    return CandidateSource.of(config, context, TEACHER.cost)


def _row(candidate: Candidate, replicate: int, seed: int, epochs: int) -> Row:
    random = np.random.default_rng(seed)
    decades = math.log10(candidate.cost.num_params) - 3.0
    luck = random.normal(0.0, 0.5) + 3.0 * abs(math.log(candidate.recipe.learning_rate / 4e-3))
    final, speed = 30.0 * math.exp(-decades) + luck, 4.0 / (1.0 + 0.3 * decades)
    epoch = np.arange(1, epochs + 1)
    gaps = final + (88.0 - final) * np.exp(-speed * epoch / epochs * 3.0)
    noisy = (gaps + random.normal(0.0, 0.3, epochs)).round(1)
    seconds: Floats = np.full(epochs, 0.1 + candidate.cost.macs / 1e7)
    return Row(
        candidate=candidate.number,
        replicate=replicate,
        seed=seed,
        parameters=candidate.parameters,
        spec=candidate.spec,
        recipe=candidate.recipe,
        cost=candidate.cost,
        commit="synthetic",
        error="",
        curves={
            "gap_points": noisy,
            "raw_gap_points": (noisy + random.normal(0.0, 2.0, epochs)).round(1),
            "divergence_nats": np.maximum(noisy, 0.0) / 50.0,
            "nll_nats": np.maximum(noisy, 0.0) / 40.0,
            "wall_time_s": seconds,
            "cpu_time_s": seconds,
        },
    )
