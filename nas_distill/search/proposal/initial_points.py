"""Candidates to try first: read from a file, or from the front of another run, and checked against the space."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.trials.study_reader import read_parameters, read_study
from nas_distill.config import SearchConfig
from nas_distill.config.yaml_text import parse_yaml
from nas_distill.errors import ConfigError, NasDistillError
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.recipe import RecipeChoices
from nas_distill.records.space_trial import SpaceTrial
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.samplers.space_sampling import check_point
from nas_distill.search.spaces.loading import load_space, propose
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe

Point = Mapping[str, Any]
"""Names of parameters to values; those that are not named are the sampler's."""

_FIELD = "space.initial_points"


def plan_initial_points(config: SearchConfig, *, images_per_class: float | None = None) -> tuple[Point, ...]:
    """Returns the candidates that a search tries first, in order.

    Args:
        config: The search's.
        images_per_class: Training images of a class, on average; None while that is not known. Few allow fewer recipes.

    Raises:
        ConfigError: There is no such file or run, a name is not asked for, a value is outside its distribution, or a
            point is given twice.
        RunError, StudyError: The run cannot be read.
        SpaceError: The space raises for a point.
    """
    source = config.space.initial_points
    if source is None:
        return ()
    points = _of_run(Path(source)) if Path(source).is_dir() else _of_file(Path(source))
    space, recipes = load_space(config.space.name), load_recipe_space(config.space.recipe)
    counts = (math.inf, 0.0) if images_per_class is None else (images_per_class,)
    choices = [make_choices(config, images_per_class=count) for count in counts]

    def ask(served: RecipeChoices, trial: SpaceTrial) -> tuple[StudentSpec, Recipe]:
        return propose(space, trial), propose_recipe(recipes, trial, config.recipe, served)

    seen: dict[str, str] = {}
    for name, point in points:
        where = f"{_FIELD}: {source}: {name}"
        text = json.dumps(point, sort_keys=True)
        if text in seen:
            raise ConfigError(f"{where}: is the same as {seen[text]}; give it once")
        seen[text] = name
        errors = [_error(point, where, partial(ask, served)) for served in choices]
        if all(errors):
            assert errors[0] is not None
            raise errors[0]
    return tuple(point for _, point in points)


def _error(point: Point, where: str, ask: Callable[[SpaceTrial], object]) -> NasDistillError | None:
    """Returns what is wrong with a point for those who ask a trial so."""
    try:
        check_point(point, ask, where=where)
    except NasDistillError as error:
        return error
    return None


def _of_run(path: Path) -> Sequence[tuple[str, Point]]:
    """Returns the parameters of a run's front, the smallest student first."""
    run = RunDirectory(path)
    study = read_study(run)
    numbers = pareto_front(study.trials, study.objectives, study.teacher).numbers
    if not numbers:
        raise ConfigError(f"{_FIELD}: {path}: the run has no fully trained student to begin with; give another")
    parameters = read_parameters(run)
    return [(f"trial {number}", parameters[number]) for number in numbers]


def _of_file(path: Path) -> Sequence[tuple[str, Point]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{_FIELD}: {path}: cannot be read ({error}); give a YAML or JSON file with a list of parameter mappings, "
            "or a run"
        ) from None
    value, _ = parse_yaml(text, origin=str(path))
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{_FIELD}: {path}: must be a list of parameter mappings, such as `- {{width: 8, depth: 2}}`")
    points = [(f"point {number}", point) for number, point in enumerate(value, 1)]
    for name, point in points:
        named = isinstance(point, dict) and all(isinstance(key, str) for key in point)
        if not (named and point and all(isinstance(one, str | bool | int | float) for one in point.values())):
            raise ConfigError(
                f"{_FIELD}: {path}: {name}: must be a mapping of parameter names to plain values; found {point!r:.80}"
            )
    return points
