"""Recipe spaces: the shipped one and users' own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from nas_distill.config import TeacherConfig
from nas_distill.errors import ConfigError, SpaceError
from nas_distill.losses.registry import LOSSES, Need, resolve_losses
from nas_distill.losses.weighted_sum import DistillationLoss
from nas_distill.records.recipe import Adaptation, Mix, Recipe, RecipeChoices
from nas_distill.search.spaces.loading import list_spaces
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe
from search_spaces.recipes import LOGITS, TEMPERED

BASE = Recipe(epochs=7, batch_size=48, learning_rate=2e-3, early_stopping_patience=3, gradient_clip_norm=0.5)
STORED, ONLINE = TeacherConfig(), TeacherConfig(online=True)
MIXES: tuple[Mix, ...] = ("cutmix", "mixup")
CHOICES = make_choices(BASE, STORED)
ONLINE_CHOICES = make_choices(BASE, ONLINE, mixes=MIXES)


def ask(seed: int = 0) -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


def own_space(folder: Path, body: str) -> str:
    file = folder / "my_recipes.py"
    file.write_text(f"from nas_distill.records import Recipe\n\ndef recipe(trial, base, choices):\n    {body}\n")
    return str(file)


def changed(changes: str) -> str:
    return f"return Recipe(**{{**dict(base), {changes}}})"


def test_the_choices_follow_from_what_is_stored_or_online() -> None:
    logits = ("ctkd", "dist", "dkd", "kd", "mlkd", "nkd", "wsld")
    embeddings = ("cc", "pkt", "rkd", "sp")
    assert CHOICES.losses == logits
    assert CHOICES.mixes == ("none",)
    stored = make_choices(Recipe(), TeacherConfig(embeddings=True))
    assert stored.losses == tuple(sorted((*logits, *embeddings)))
    assert make_choices(Recipe(losses={"rkd": {}}), STORED).losses == stored.losses
    online = ONLINE_CHOICES
    assert online.losses == tuple(name for name in LOSSES.names() if name != "simkd")
    assert online.mixes == ("cutmix", "mixup", "none")
    for name in online.losses:
        assert online.weights[name] == LOSSES.get(name).defaults["weight"]
        assert online.label_weights[name] == LOSSES.get(name).label_weight
    assert make_choices(Recipe(mix="mixup"), STORED).mixes == ("mixup",)
    assert [make_choices(BASE, STORED, images_per_class=count).releases for count in (49.9, 50)] == [False, True]
    with_folds = [make_choices(BASE, STORED, folds=5, images_per_class=count).releases for count in (62, 63)]
    assert with_folds == [False, True]


def test_the_fixed_space_returns_the_configurations_recipe() -> None:
    for base in (BASE, Recipe(losses={"simkd": {}}), Recipe(losses={}, label_weight=1.0)):
        choices = make_choices(base, ONLINE)
        assert propose_recipe(load_recipe_space("fixed"), ask(), base, choices) == base


def test_a_loss_of_weight_0_need_not_be_available(tmp_path: Path) -> None:
    space = load_recipe_space(own_space(tmp_path, changed("'losses': {'kd': {}, 'hint': {'weight': 0.0}}")))
    assert propose_recipe(space, ask(), BASE, CHOICES).losses["hint"] == {"weight": 0.0}


def test_the_shipped_spaces_tables_of_losses_agree_with_the_registry() -> None:
    entries = {name: LOSSES.get(name) for name in LOSSES.names()}
    assert set(TEMPERED) == {name for name, entry in entries.items() if "temperature" in entry.defaults}
    assert set(LOGITS) == {name for name, entry in entries.items() if Need.LOGITS in entry.needs}


@pytest.mark.parametrize("choices", [CHOICES, ONLINE_CHOICES], ids=["stored", "online"])
def test_the_shipped_space_proposes_valid_recipes(choices: RecipeChoices) -> None:
    space = load_recipe_space("search")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen: dict[str, set[object]] = {}
    for _ in range(500):
        trial = study.ask()
        recipe = propose_recipe(space, trial, BASE, choices)
        check_recipe(recipe, trial.params)
        for name, value in trial.params.items():
            seen.setdefault(name, set()).add(value)
    for frozen in study.get_trials(deepcopy=False):
        for name, distribution in frozen.distributions.items():
            if isinstance(distribution, optuna.distributions.CategoricalDistribution):
                assert seen[name] == set(distribution.choices), name
    assert seen["loss"] == {"none", *choices.losses}
    assert ("mix" in seen) == (len(choices.mixes) > 1)


def test_each_kind_of_initial_weights_has_its_learning_rates() -> None:
    space = load_recipe_space("search")
    names = {"random": "learning_rate_factor", "teacher": "cut_rate_factor", "pretrained": "fine_tuning_rate_factor"}
    for initial_weights, name in names.items():
        choices = replace(CHOICES, initial_weights=initial_weights)
        for seed in range(20):
            trial = ask(seed)
            recipe = propose_recipe(space, trial, BASE, choices)
            assert {one for one in trial.params if one in names.values()} == {name}
            rate = recipe.learning_rate if initial_weights == "random" else recipe.for_fine_tuning().learning_rate
            assert rate == pytest.approx(BASE.learning_rate * trial.params[name])


def test_a_study_can_continue_with_release_and_without_it() -> None:
    space, study = load_recipe_space("search"), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    for _ in range(20):
        for images_per_class in (40.0, 400.0):
            propose_recipe(space, study.ask(), BASE, make_choices(BASE, STORED, images_per_class=images_per_class))
    for trial in study.get_trials(deepcopy=False):
        for name, distribution in trial.distributions.items():
            if name.startswith(("remedy_tempered", "remedy_logits")):
                assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
                assert ("_without_release" in name) == ("release" not in distribution.choices)


def check_recipe(recipe: Recipe, params: dict[str, object]) -> None:
    kept = ("epochs", "batch_size", "optimizer", "gradient_clip_norm", "warmup_share", "min_learning_rate_share")
    assert {name: getattr(recipe, name) for name in kept} == {name: getattr(BASE, name) for name in kept}
    assert 0.25 * BASE.learning_rate <= recipe.learning_rate <= 4 * BASE.learning_rate
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.early_stopping_patience in (0, 1, 3)
    loss = str(params["loss"])
    assert [one.name for one in resolve_losses(recipe)] == ([] if loss == "none" else [loss])
    remedies = {str(params[name]) for name in params if name.startswith("remedy_")}
    assert len(remedies) == (loss != "none")
    parents = {
        "label_weight": loss != "none",
        "weight_factor": loss != "none",
        "temperature": loss in TEMPERED,
        "standardise": loss in ("kd", "dkd", "ctkd"),
        "dkd_beta": loss == "dkd",
        "nkd_gamma": loss == "nkd",
        "remedy_tempered": loss in TEMPERED,
        "remedy_logits": loss == "ctkd",
        "remedy_features": loss not in (*LOGITS, "none"),
        "anneal_schedule": remedies == {"anneal"},
        "teacher_until": remedies == {"until"},
        "plateau_share": remedies == {"plateau"},
        "temperature_annealing": remedies == {"temperature"},
        "temperature_end": remedies == {"temperature"},
        "sample_weighting": remedies == {"weighting"},
    }
    assert {name: name in params for name in parents} == parents
    assert (recipe.adaptive != Adaptation()) == bool(remedies - {"none"})
    assert recipe.adaptive.release == (remedies == {"release"})
    assert (recipe.adaptive.teacher_patience > 0) == (remedies == {"plateau"})
    assert not recipe.adaptive.release or "mix" not in params
    if loss == "none":
        assert recipe.label_weight == 1.0
    else:
        weight = 9.0 if recipe.losses[loss].get("standardise") else LOSSES.get(loss).defaults["weight"]
        assert 0.333 * weight < recipe.losses[loss]["weight"] <= 3.0 * weight


def test_the_samplers_of_a_search_can_learn_from_the_shipped_space() -> None:
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, group=True, n_startup_trials=10)
    )
    space, choices = load_recipe_space("search"), ONLINE_CHOICES
    for _ in range(40):
        trial = study.ask()
        recipe = propose_recipe(space, trial, BASE, choices)
        study.tell(trial, abs(recipe.dropout - 0.2) + (recipe.schedule == "linear"))
    assert len(study.trials) == 40


def test_searched_losses_of_logits_can_be_built() -> None:
    for seed in range(20):
        recipe = propose_recipe(load_recipe_space("search"), ask(seed), BASE, CHOICES)
        loss = DistillationLoss(recipe, num_classes=3)
        assert set(loss.terms) == {one.entry.name for one in resolve_losses(recipe)}


def test_the_recipe_space_is_not_listed_among_spaces() -> None:
    assert "recipes" not in list_spaces()


def test_a_users_recipe_space(tmp_path: Path) -> None:
    name = own_space(tmp_path, changed("'dropout': trial.suggest_float('dropout', 0.1, 0.2)"))
    recipe = propose_recipe(load_recipe_space(name), ask(), BASE, CHOICES)
    assert 0.1 <= recipe.dropout <= 0.2
    assert recipe.learning_rate == BASE.learning_rate


def test_a_users_recipe_space_receives_the_choices(tmp_path: Path) -> None:
    name = own_space(tmp_path, changed("'losses': {trial.suggest_categorical('loss', choices.losses): {}}"))
    recipe = propose_recipe(load_recipe_space(name), ask(), BASE, CHOICES)
    assert set(recipe.losses) <= set(CHOICES.losses)
    control = own_space(tmp_path, changed("'losses': {'none': {}}, 'label_weight': 1.0"))
    assert propose_recipe(load_recipe_space(control), ask(), BASE, CHOICES).losses == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return None", "space.wrong_type"),
        ("raise ZeroDivisionError('mine')", "space.raised"),
        (changed("'epochs': 8"), "space.recipe_fixed_field"),
        (changed("'losses': {'at': {}}"), "space.loss_unavailable"),
        (changed("'losses': {'sp': {}}"), "space.loss_unavailable"),
        (changed("'losses': {'simkd': {}}"), "space.loss_unavailable"),
        (changed("'mix': 'mixup'"), "space.mix_unavailable"),
        (changed("'schedule': 'cosin'"), "space.raised"),
    ],
)
def test_an_invalid_proposal_of_a_recipe_space_is_rejected(tmp_path: Path, body: str, code: str) -> None:
    error = proposal_error(own_space(tmp_path, body))
    assert error.code == code
    assert "my_recipes.py" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        changed("'losses': {'kdd': {}}"),
        changed("'losses': {'kd': {'temprature': 2.0}}"),
        changed("'losses': {'kd': {'temperature': 0.0}}"),
        changed("'losses': {'kd': {'temperature': -2.0}}"),
        changed("'optimizer': 'adamm'"),
        changed("'optimizer': 'adahessian'"),
    ],
)
def test_a_recipe_that_breaks_a_rule_of_losses_or_optimisers_is_rejected(tmp_path: Path, body: str) -> None:
    error = proposal_error(own_space(tmp_path, body))
    assert isinstance(error.__cause__, ConfigError)
    assert error.code == error.__cause__.code


def proposal_error(name: str) -> SpaceError:
    with pytest.raises(SpaceError) as caught:
        propose_recipe(load_recipe_space(name), ask(), BASE, CHOICES)
    assert caught.value.field == "space.recipe"
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_recipe_space_that_cannot_be_loaded_is_rejected(tmp_path: Path) -> None:
    file = own_space(tmp_path, "return base")
    for parameters in ("trial", "trial, base"):
        (tmp_path / f"{len(parameters)}.py").write_text(f"def recipe({parameters}):\n    return None\n")
    for name, code in (
        ("serch", "space.unknown"),
        ("missing.py", "search.file_unreadable"),
        (f"{file}:other", "space.no_function"),
        (str(tmp_path / "5.py"), "space.signature"),
        (str(tmp_path / "11.py"), "space.signature"),
    ):
        with pytest.raises(SpaceError) as caught:
            load_recipe_space(name)
        assert (caught.value.code, caught.value.field) == (code, "space.recipe")


def test_the_space_in_the_documentation_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "own-recipe.md").read_text()
    file = tmp_path / "my_recipes.py"
    file.write_text(text.split("```python\n")[1].split("```")[0])
    for seed in range(10):
        recipe = propose_recipe(load_recipe_space(str(file)), ask(seed), BASE, CHOICES)
        assert set(recipe.losses) <= set(CHOICES.losses)


def test_the_documentation_names_every_parameter_of_the_shipped_space() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "recipe-space.md").read_text()
    space, choices = load_recipe_space("search"), ONLINE_CHOICES
    for seed in range(100):
        trial = ask(seed)
        propose_recipe(space, trial, BASE, choices)
        assert [name for name in trial.params if f"`{name}`" not in text] == []
