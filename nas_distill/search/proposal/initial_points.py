"""Reads candidates to try first from a file or from the front of another run, and checks them against the space."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas_distill.analysis.run import Run
from nas_distill.analysis.trials.study_reader import read_parameters
from nas_distill.config import SpaceConfig
from nas_distill.config.loading import read_short_text
from nas_distill.config.parsing.yaml_text import parse_yaml
from nas_distill.errors import ConfigError, NasDistillError
from nas_distill.records import Recipe, SpaceContext, StudentSpec
from nas_distill.records.recipe import RecipeChoices
from nas_distill.records.space_context import SpaceTrial
from nas_distill.records.student import RANDOM
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.samplers.space_sampling import check_point
from nas_distill.search.spaces.loading import load_space, propose
from nas_distill.search.spaces.recipes import load_recipe_space, propose_recipe

Point = Mapping[str, Any]
"""Parameter names and values; the sampler chooses the parameters that are missing."""

FIELD = "space.initial_points"


def plan_initial_points(
    config: SpaceConfig,
    recipe: Recipe,
    choices: Sequence[RecipeChoices],
    context: SpaceContext,
    initial_weights: InitialWeightsChooser,
) -> tuple[Point, ...]:
    """Return the candidates that a search tries first, in order.

    Args:
        config: Section `space` of the configuration.
        recipe: The configuration's recipe.
        choices: Options that recipes may choose from. Several while it is not known which of them hold: a point must
            be valid with one of them.
        context: Data, teacher and limits of the search, for the space.
        initial_weights: Chooses the weights that a candidate starts from.

    Raises:
        ConfigError: The file or run does not exist, a point names a parameter that the space does not suggest, a value
            is outside its distribution, or a point is given twice.
        RunError: The run directory cannot be read.
        StudyError: The run's study cannot be read.
        SpaceError: The space raised an exception for a point, or the initial weights of a point do not fit it.
    """
    if config.initial_points is None:
        return ()
    source = Path(config.initial_points)
    points = _read_run(source) if source.is_dir() else _read_file(source)
    space, recipes = load_space(config.resolved_name), load_recipe_space(config.recipe)

    def build(available: RecipeChoices, trial: SpaceTrial) -> tuple[StudentSpec, Recipe]:
        spec = initial_weights.choose(trial, propose(space, trial, context))
        own_choices = replace(available, initial_weights=spec.initial_weights or RANDOM)
        return spec, propose_recipe(recipes, trial, recipe, own_choices)

    seen: dict[str, str] = {}
    for short_name, point in points:
        name = f"{source}: {short_name}"
        text = json.dumps(point, sort_keys=True)
        if text in seen:
            raise ConfigError(
                f"{name} repeats {seen[text]}; give each point once", code="search.point_repeated", field=FIELD
            )
        seen[text] = short_name
        errors = [_find_error(point, name, partial(build, available)) for available in choices]
        if all(errors):
            assert errors[0] is not None
            raise errors[0]
    return tuple(point for _, point in points)


def _find_error(point: Point, name: str, build: Callable[[SpaceTrial], object]) -> NasDistillError | None:
    try:
        check_point(point, build, field=FIELD, name=name)
    except NasDistillError as error:
        return error
    return None


def _read_run(path: Path) -> Sequence[tuple[str, Point]]:
    """Return the parameters of the students on a run's front, smallest student first."""
    run = RunDirectory(path)
    numbers = Run(path).front().numbers
    if not numbers:
        raise ConfigError(
            f"{path}: the run has no fully trained student to start from; give another run",
            code="search.points_empty",
            field=FIELD,
        )
    parameters = read_parameters(run)
    return [(f"trial {number}", parameters[number]) for number in numbers]


def _read_file(path: Path) -> Sequence[tuple[str, Point]]:
    try:
        text = read_short_text(path)
    except ConfigError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.args[0]}; give a YAML or JSON file with a list of parameter mappings, or a "
            "run directory",
            code="search.file_unreadable",
            field=FIELD,
        ) from None
    value, _ = parse_yaml(text, origin=str(path))
    if not isinstance(value, list) or not value:
        raise ConfigError(
            f"{path} must hold a list of parameter mappings, such as `- {{width: 8, depth: 2}}`",
            code="search.points_format",
            field=FIELD,
        )
    points = [(f"point {number}", point) for number, point in enumerate(value, 1)]
    for name, point in points:
        named = isinstance(point, dict) and all(isinstance(key, str) for key in point)
        if not (named and point and all(isinstance(one, str | bool | int | float) for one in point.values())):
            raise ConfigError(
                f"{path}: {name} must be a mapping of parameter names to plain values; got {point!r:.80}",
                code="search.points_format",
                field=FIELD,
            )
    return points
