"""Recipe spaces: the shipped one, and those of one's own."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from nas_distill.config import PicksConfig, SearchConfig, TeacherConfig, ViewsConfig
from nas_distill.errors import SpaceError
from nas_distill.losses.registry import LOSSES, Need, resolve_losses
from nas_distill.losses.weighted_sum import DistillationLoss
from nas_distill.records.recipe import Adaptation, Recipe
from nas_distill.search.spaces.loading import list_spaces
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe
from search_spaces.recipes import LOGITS, TEMPERED

BASE = Recipe(epochs=7, batch_size=48, learning_rate=2e-3, early_stopping_patience=3, gradient_clip_norm=0.5)
OFFLINE = SearchConfig(recipe=BASE)
ONLINE = SearchConfig(recipe=BASE, teacher=TeacherConfig(online=True), views=ViewsConfig(mixes=("cutmix", "mixup")))
CHOICES = make_choices(OFFLINE)


def ask(seed: int = 0) -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


def own_space(folder: Path, body: str) -> str:
    file = folder / "my_recipes.py"
    file.write_text(f"from nas_distill.records import Recipe\n\ndef recipe(trial, base, choices):\n    {body}\n")
    return str(file)


def changed(changes: str) -> str:
    return f"return Recipe(**{{**dict(base), {changes}}})"


def test_a_search_serves_what_is_stored_or_asked_online() -> None:
    logits = ("ctkd", "dist", "dkd", "kd", "mlkd", "nkd", "wsld")
    embeddings = ("cc", "pkt", "rkd", "sp")
    assert CHOICES.losses == logits
    assert CHOICES.mixes == ("none",)
    stored = make_choices(SearchConfig(teacher=TeacherConfig(embeddings=True)))
    assert stored.losses == tuple(sorted((*logits, *embeddings)))
    assert make_choices(SearchConfig(recipe=Recipe(losses={"rkd": {}}))).losses == stored.losses
    online = make_choices(ONLINE)
    assert online.losses == tuple(name for name in LOSSES.names() if name != "simkd")
    assert online.mixes == ("cutmix", "mixup", "none")
    for name in online.losses:
        assert online.weights[name] == LOSSES.get(name).defaults["weight"]
        assert online.label_weights[name] == LOSSES.get(name).label_weight
    assert make_choices(SearchConfig(recipe=Recipe(mix="mixup"))).mixes == ("mixup",)
    assert [make_choices(OFFLINE, images_per_class=count).releases for count in (49.9, 50)] == [False, True]
    folds = SearchConfig(recipe=BASE, picks=PicksConfig(folds=5))
    assert [make_choices(folds, images_per_class=count).releases for count in (62, 63)] == [False, True]


def test_fixed_is_the_recipe_of_the_configuration() -> None:
    for base in (BASE, Recipe(losses={"simkd": {}}), Recipe(losses={}, label_weight=1.0)):
        choices = make_choices(SearchConfig(recipe=base, teacher=TeacherConfig(online=True)))
        assert propose_recipe(load_recipe_space("fixed"), ask(), base, choices) == base


def test_a_loss_of_weight_0_need_not_be_served(tmp_path: Path) -> None:
    space = load_recipe_space(own_space(tmp_path, changed("'losses': {'kd': {}, 'hint': {'weight': 0.0}}")))
    assert propose_recipe(space, ask(), BASE, CHOICES).losses["hint"] == {"weight": 0.0}


def test_what_the_shipped_space_knows_of_losses_is_what_the_registry_says() -> None:
    entries = {name: LOSSES.get(name) for name in LOSSES.names()}
    assert set(TEMPERED) == {name for name, entry in entries.items() if "temperature" in entry.defaults}
    assert set(LOGITS) == {name for name, entry in entries.items() if Need.LOGITS in entry.needs}


@pytest.mark.parametrize("config", [OFFLINE, ONLINE], ids=["offline", "online"])
def test_the_shipped_space_proposes_recipes_that_can_be_trained_by(config: SearchConfig) -> None:
    space, choices = load_recipe_space("search"), make_choices(config)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen: dict[str, set[object]] = {}
    for _ in range(500):
        trial = study.ask()
        recipe = propose_recipe(space, trial, BASE, choices)
        check_recipe(recipe, trial.params)
        for name, value in trial.params.items():
            seen.setdefault(name, set()).add(value)
    for asked in study.get_trials(deepcopy=False):
        for name, distribution in asked.distributions.items():
            if isinstance(distribution, optuna.distributions.CategoricalDistribution):
                assert seen[name] == set(distribution.choices), name
    assert seen["loss"] == {"none", *choices.losses}
    assert ("mix" in seen) == (len(choices.mixes) > 1)


def test_a_study_without_release_can_go_on_with_it_and_the_other_way_round() -> None:
    space, study = load_recipe_space("search"), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    for _ in range(20):
        for images_per_class in (40.0, 400.0):
            propose_recipe(space, study.ask(), BASE, make_choices(OFFLINE, images_per_class=images_per_class))
    for trial in study.get_trials(deepcopy=False):
        for name, distribution in trial.distributions.items():
            if name.startswith(("remedy_tempered", "remedy_logits")):
                assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
                assert ("_kept" in name) == ("release" not in distribution.choices)


def check_recipe(recipe: Recipe, params: dict[str, object]) -> None:
    kept = ("epochs", "batch_size", "optimizer", "gradient_clip_norm", "warmup_share", "min_learning_rate_share")
    assert {name: getattr(recipe, name) for name in kept} == {name: getattr(BASE, name) for name in kept}
    assert 0.25 * BASE.learning_rate <= recipe.learning_rate <= 4 * BASE.learning_rate
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.early_stopping_patience in (0, 1, 3)
    loss = str(params["loss"])
    assert [asked.name for asked in resolve_losses(recipe)] == ([] if loss == "none" else [loss])
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
        "anneal_course": remedies == {"anneal"},
        "teacher_until": remedies == {"until"},
        "plateau_share": remedies == {"plateau"},
        "temperature_schedule": remedies == {"temperature"},
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
    space, choices = load_recipe_space("search"), make_choices(ONLINE)
    for _ in range(40):
        trial = study.ask()
        recipe = propose_recipe(space, trial, BASE, choices)
        study.tell(trial, abs(recipe.dropout - 0.2) + (recipe.schedule == "linear"))
    assert len(study.trials) == 40


def test_searched_losses_of_logits_can_be_made() -> None:
    for seed in range(20):
        recipe = propose_recipe(load_recipe_space("search"), ask(seed), BASE, CHOICES)
        made = DistillationLoss(recipe, num_classes=3)
        assert set(made.terms) == {loss.entry.name for loss in resolve_losses(recipe)}


def test_the_recipe_space_is_no_space_of_candidates() -> None:
    assert "recipes" not in list_spaces()


def test_a_recipe_space_of_ones_own(tmp_path: Path) -> None:
    name = own_space(tmp_path, changed("'dropout': trial.suggest_float('dropout', 0.1, 0.2)"))
    recipe = propose_recipe(load_recipe_space(name), ask(), BASE, CHOICES)
    assert 0.1 <= recipe.dropout <= 0.2
    assert recipe.learning_rate == BASE.learning_rate


def test_a_recipe_space_of_ones_own_is_told_what_is_served(tmp_path: Path) -> None:
    name = own_space(tmp_path, changed("'losses': {trial.suggest_categorical('loss', choices.losses): {}}"))
    recipe = propose_recipe(load_recipe_space(name), ask(), BASE, CHOICES)
    assert set(recipe.losses) <= set(CHOICES.losses)
    control = own_space(tmp_path, changed("'losses': {'none': {}}, 'label_weight': 1.0"))
    assert propose_recipe(load_recipe_space(control), ask(), BASE, CHOICES).losses == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", r"returned None \(NoneType\); return a nas_distill\.records\.Recipe"),
        ("raise ZeroDivisionError('mine')", r"my_recipes\.py:4: recipe space .* raised ZeroDivisionError: mine"),
        (changed("'epochs': 8"), r"set epochs to 8; it is recipe\.epochs=7 for all trials"),
        (changed("'losses': {'kdd': {}}"), r"proposed recipe\.losses: no loss is called 'kdd'; did you mean 'kd'"),
        (changed("'losses': {'kd': {'temprature': 2.0}}"), r"kd\.temprature: no such parameter; did you mean 'temper"),
        (changed("'losses': {'kd': {'temperature': 0.0}}"), r"kd\.temperature: 0\.0 must be above 0"),
        (changed("'losses': {'kd': {'temperature': -2.0}}"), r"kd\.temperature: -2\.0 must be above 0"),
        (changed("'losses': {'at': {}}"), r"recipe\.losses\.at: .* not stored; set teacher\.online=true"),
        (changed("'losses': {'sp': {}}"), r"recipe\.losses\.sp: .* not stored; set teacher\.embeddings=true"),
        (changed("'losses': {'simkd': {}}"), r"recipe\.losses\.simkd: .*set it in recipe\.losses with space\.recipe=f"),
        (changed("'mix': 'mixup'"), r"recipe\.mix: mixup, and .*; add it to views\.mixes, or .*\(none\)"),
        (changed("'optimizer': 'adamm'"), r"proposed recipe\.optimizer: timm has no optimiser 'adamm'; did you mean"),
        (changed("'optimizer': 'adahessian'"), r"proposed recipe\.optimizer: 'adahessian' needs second derivatives"),
        (changed("'schedule': 'cosin'"), r"raised ValidationError: .*'cosine', 'linear', 'step' or 'constant'"),
    ],
)
def test_a_recipe_space_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, body: str, message: str) -> None:
    space = load_recipe_space(own_space(tmp_path, body))
    with pytest.raises(SpaceError, match=message) as caught:
        propose_recipe(space, ask(), BASE, CHOICES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("serch", r"space\.recipe: 'serch' is neither fixed nor search; did you mean 'search'"),
        ("missing.py", r"missing\.py: cannot be read"),
    ],
)
def test_an_unknown_recipe_space_is_told(name: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_recipe_space(name)


def test_a_file_without_the_function_is_told(tmp_path: Path) -> None:
    file = own_space(tmp_path, "return base")
    with pytest.raises(SpaceError, match=r"has no function 'other'; write `def other\(trial, base, choices\)`"):
        load_recipe_space(f"{file}:other")
    for parameters in ("trial", "trial, base"):
        Path(file).write_text(f"def recipe({parameters}):\n    return None\n")
        with pytest.raises(SpaceError, match=r"'recipe' cannot be called with .*; write `def recipe\(trial, base, cho"):
            load_recipe_space(file)


def test_the_space_in_the_documentation_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
    file = tmp_path / "my_recipes.py"
    file.write_text(text.split("```python\n")[1].split("```")[0])
    for seed in range(10):
        recipe = propose_recipe(load_recipe_space(str(file)), ask(seed), BASE, CHOICES)
        assert set(recipe.losses) <= set(CHOICES.losses)


def test_the_documentation_names_every_parameter_of_the_shipped_space() -> None:
    text = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
    space, choices = load_recipe_space("search"), make_choices(ONLINE)
    for seed in range(100):
        trial = ask(seed)
        propose_recipe(space, trial, BASE, choices)
        assert [name for name in trial.params if f"`{name}`" not in text] == []
