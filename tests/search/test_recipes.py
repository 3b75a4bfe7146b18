"""Recipe spaces: the shipped one, and those of one's own."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from nas_distill.errors import SpaceError
from nas_distill.losses.registry import DistillationLoss
from nas_distill.records import Recipe
from nas_distill.search.recipes import load_recipe_space, propose_recipe
from nas_distill.search.spaces import list_spaces

BASE = Recipe(epochs=7, batch_size=48, learning_rate=2e-3, early_stopping_patience=3, gradient_clip_norm=0.5)


def ask(seed: int = 0) -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


def own_space(folder: Path, body: str) -> str:
    file = folder / "my_recipes.py"
    file.write_text(f"from nas_distill.records import Recipe\n\ndef recipe(trial, base):\n    {body}\n")
    return str(file)


def test_fixed_is_the_recipe_of_the_configuration() -> None:
    assert propose_recipe(load_recipe_space("fixed"), ask(), BASE) == BASE


def test_the_shipped_space_proposes_recipes_that_can_be_trained_by() -> None:
    space = load_recipe_space("search")
    recipes = [propose_recipe(space, ask(seed), BASE) for seed in range(60)]
    for recipe in recipes:
        DistillationLoss(recipe)
        kept = ("epochs", "batch_size", "optimizer", "early_stopping_patience", "gradient_clip_norm", "warmup_share")
        assert {name: getattr(recipe, name) for name in kept} == {name: getattr(BASE, name) for name in kept}
        assert 0.25 * BASE.learning_rate <= recipe.learning_rate <= 4 * BASE.learning_rate
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    losses = {next(iter(recipe.losses), "none") for recipe in recipes}
    assert losses == {"none", "kd", "dkd", "dist", "nkd", "wsld"}
    assert all(recipe.label_weight == 1.0 for recipe in recipes if not recipe.losses)


def test_the_recipe_space_is_no_space_of_candidates() -> None:
    assert "recipes" not in list_spaces()


def test_a_recipe_space_of_ones_own(tmp_path: Path) -> None:
    name = own_space(tmp_path, "return Recipe(**{**dict(base), 'dropout': trial.suggest_float('dropout', 0.1, 0.2)})")
    recipe = propose_recipe(load_recipe_space(name), ask(), BASE)
    assert 0.1 <= recipe.dropout <= 0.2
    assert recipe.learning_rate == BASE.learning_rate


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", r"returned None \(NoneType\); return a nas_distill\.records\.Recipe"),
        ("raise ZeroDivisionError('mine')", r"my_recipes\.py:4: recipe space .* raised ZeroDivisionError: mine"),
        ("return Recipe(**{**dict(base), 'epochs': 8})", r"set epochs to 8; it is recipe\.epochs=7 for all trials"),
        ("return Recipe(**{**dict(base), 'losses': {'kdd': {}}})", r"proposed recipe\.losses: no loss is called 'kdd'"),
        ("return Recipe(**{**dict(base), 'optimizer': 'adamm'})", r"proposed recipe\.optimizer: timm has no optimiser"),
    ],
)
def test_a_recipe_space_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, body: str, message: str) -> None:
    space = load_recipe_space(own_space(tmp_path, body))
    with pytest.raises(SpaceError, match=message) as caught:
        propose_recipe(space, ask(), BASE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("serch", r"space\.recipe: 'serch' is none of them; did you mean 'search'"),
        ("missing.py", r"missing\.py: cannot be read"),
    ],
)
def test_an_unknown_recipe_space_is_told(name: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_recipe_space(name)


def test_a_file_without_the_function_is_told(tmp_path: Path) -> None:
    file = own_space(tmp_path, "return base")
    with pytest.raises(SpaceError, match=r"has no function 'other'; write `def other\(trial, base\)`"):
        load_recipe_space(f"{file}:other")
    Path(file).write_text("def recipe(trial):\n    return None\n")
    with pytest.raises(SpaceError, match=r"'recipe' cannot be called with a trial and a recipe; write `def recipe"):
        load_recipe_space(file)
