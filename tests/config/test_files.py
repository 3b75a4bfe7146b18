"""Configuration files and overrides that break a rule: the error names code, field and place."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.config.rejections import codes_and_fields, rejection, write


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("recipe:\n  losses: {}\n  label_weight: 0\n", "config.invalid_value", "recipe"),
        ("objectives: [gap_points]\n", "config.objective_count", "objectives"),
        ("data: {source: 'folder:x'}\n", "config.teacher_missing", "teacher.model"),
        ("asha: {rungs: [3, 30]}\n", "config.rung_after_last_epoch", "asha.rungs"),
        ("teacher: {online: true, embeddings: true}\n", "config.conflicting_values", "teacher.embeddings"),
    ],
)
def test_rules_across_fields_name_a_field(tmp_path: Path, text: str, code: str, field: str) -> None:
    error = rejection(write(tmp_path, text))
    assert codes_and_fields(error) == {(code, field)}


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("recipe: {epochs: 1\nseed", "config.not_yaml", "{path}:2:5"),
        ("seed: 1\nrecipe: {}\nseed: 2\n", "config.duplicate_key", "{path}:3:1"),
        ("recipe:\n  epochs: 1\n  epochs: 2\n", "config.duplicate_key", "{path}:3:3"),
        ("- seed\n", "config.not_a_mapping", "{path}"),
        ("seed: 1\n3: x\n", "config.key_not_text", "{path}:2"),
        ("seed: 1\n? [a]\n: x\n", "config.key_not_text", "{path}:2"),
        ("data: &a\n  root: *a\n", "config.recursive_anchor", "{path}:2:9"),
        ("teacher: {arguments: {x: &a [*a]}}\n", "config.recursive_anchor", "{path}:1:30"),
        ("recipe: 3\n", "config.invalid_value", "recipe"),
        ("recipe: {losses: {kd: 3}}\n", "config.invalid_value", "recipe.losses.kd"),
        ("recipe:\n  losses:\n    kd: {weight: .nan}\n", "config.invalid_value", "recipe.losses.kd.weight"),
        ("teacher: {arguments: {x: 2001-01-01}}\n", "config.invalid_value", "teacher.arguments"),
        ("seed: !!python/object/apply:os.getcwd []\n", "config.yaml_tag", "{path}:1:7"),
        ("seed: !!int 3\n", "config.yaml_tag", "{path}:1:7"),
        ("seed: \x00\n", "config.not_yaml", "{path}"),
        ("a: 1\n---\nb: 2\n", "config.not_yaml", "{path}:2:1"),
        ("data: *nowhere\n", "config.not_yaml", "{path}:1:7"),
    ],
)  # fmt: skip
def test_bad_files_are_rejected_with_the_place(tmp_path: Path, text: str, code: str, field: str) -> None:
    path = write(tmp_path, text)
    error = rejection(path)
    assert codes_and_fields(error) == {(code, field.format(path=path))}
    assert str(path) in str(error)


def test_nesting_and_alias_bombs_are_rejected_before_they_grow(tmp_path: Path) -> None:
    names = "abcdefghij"
    levels = [f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]" for below, name in itertools.pairwise(names)]
    bombs = ["\n".join(["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]", *levels]), "data: " + "[" * 2000 + "]" * 2000, "- " * 5000]
    for bomb in bombs:
        assert rejection(write(tmp_path, bomb)).code == "config.yaml_too_large"


def test_unreadable_files_are_rejected(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("seed: 1 # \xe9".encode("latin-1"))
    for path, code in (
        (tmp_path / "none.yaml", "config.unreadable"),
        (tmp_path, "config.unreadable"),
        (latin, "config.not_utf8"),
    ):
        error = rejection(path)
        assert (error.code, error.field) == (code, str(path))


@pytest.mark.parametrize(
    ("override", "code", "field"),
    [
        ("seed", "config.not_an_assignment", "--set"),
        ("=1", "config.not_an_assignment", "--set"),
        ("recipe..epochs=1", "config.not_an_assignment", "--set"),
        ("seed=[1", "config.not_yaml", "--set seed=[1"),
        ("data.source.x=1", "config.not_a_section", "data.source"),
        ("recipe.losses.dist.weight.x=1", "config.not_a_section", "recipe.losses.dist.weight"),
        ("dta.source=x", "config.unknown_key", "dta"),
        ("recipe.losses=3", "config.invalid_value", "recipe.losses"),
        ("recipe={epochs: 1, epochs: 2}", "config.duplicate_key", "--set recipe={epochs: 1, epochs: 2}"),
        ("teacher.arguments.x=&a [*a]", "config.recursive_anchor", "--set teacher.arguments.x=&a [*a]"),
        ("seed=true", "config.invalid_value", "seed"),
        ("recipe.learning_rate=yes", "config.invalid_value", "recipe.learning_rate"),
        ("recipe.losses.dist.weight=true", "config.invalid_value", "recipe.losses.dist.weight"),
        ("asha.rungs=[true, 2]", "config.invalid_value", "asha.rungs.0"),
        ("resources.gpus_per_trial=false", "config.invalid_value", "resources.gpus_per_trial"),
        ("objectives=gap_points", "config.invalid_value", "objectives"),
        ("views.mixes=mixup", "config.invalid_value", "views.mixes"),
        ("plugins=[a-b]", "config.invalid_value", "plugins.0"),
    ],
)
def test_bad_overrides_are_rejected(override: str, code: str, field: str) -> None:
    error = rejection(None, override)
    assert codes_and_fields(error) == {(code, field)}
    assert override in str(error)
