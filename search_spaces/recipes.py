"""The shipped recipe space, which searches recipes together with architectures: `--recipe search`."""

from __future__ import annotations

from typing import Any

from nas_distill.records import FROM_TEACHER, RANDOM, Adaptation, Recipe, RecipeChoices, SpaceTrial

TEMPERED = ("kd", "dkd", "dist", "mlkd", "nkd", "wsld")
"""Losses of logits that have a temperature as a fixed parameter."""

STANDARDISED = ("kd", "dkd", "ctkd")
"""Losses that may standardise logits to z-scores, as in Sun et al. 2024 (arXiv 2403.01427)."""

STANDARDISED_WEIGHT = 9.0
"""Weight of a standardised loss in that paper. It is large because gradients through z-scores are small."""

LOGITS = (*TEMPERED, "ctkd")
"""Losses that compare only logits."""

CHOSEN = (
    "losses", "label_weight", "label_smoothing", "dropout", "drop_path", "ema_decay", "schedule", "adaptive",
    "early_stopping_patience", "fine_tuning_rate_share",
)  # fmt: skip
"""Recipe fields that this space sets regardless of the section `recipe`. It keeps or scales the other fields."""

_NO_MIX = "none"


def recipe(trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> Recipe:
    """Search the loss and its parameters, its adaptation, mixing, learning rate, regularisation and weight averaging.

    Epochs, batch size, optimiser, warm-up and gradient clipping stay as in the configuration. The parameters of an
    option are suggested only where the option was chosen, and each name always has the same range. The learning rate of
    a student that does not start from random weights has a range of its own.

    Args:
        trial: Trial that suggests the parameters.
        base: The configuration's recipe.
        choices: Losses and image mixings that are available in the search.

    Returns:
        Recipe of the trial.
    """
    loss = trial.suggest_categorical("loss", ["none", *choices.losses])
    remedy = "none" if loss == "none" else _suggest_remedy(trial, loss, choices)
    patience = trial.suggest_categorical("patience_share", [0.0, 0.2, 0.4])
    changes: dict[str, Any] = {
        "losses": {} if loss == "none" else {loss: _suggest_parameters(trial, loss, choices.weights[loss])},
        "label_weight": 1.0 if loss == "none" else trial.suggest_float("label_weight", 0.05, 1.0, log=True),
        "adaptive": Adaptation(**_suggest_adaptation(trial, remedy, base.epochs)),
        "mix": _suggest_mix(trial, remedy, choices),
        **_suggest_learning_rate(trial, base, choices),
        "schedule": trial.suggest_categorical("schedule", ["cosine", "linear"]),
        "weight_decay": base.weight_decay * trial.suggest_float("weight_decay_factor", 0.1, 10.0, log=True),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.1, step=0.02),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3, step=0.1),
        "drop_path": trial.suggest_float("drop_path", 0.0, 0.2, step=0.05),
        "ema_decay": trial.suggest_categorical("ema_decay", [0.0, 0.9, 0.98, 0.995]),
        "early_stopping_patience": max(1, round(patience * base.epochs)) if patience else 0,
    }
    return Recipe(**{**dict(base), **changes})


def _suggest_learning_rate(trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> dict[str, float]:
    """Suggest the peak learning rate. Weights that know something already need a lower one than random weights.

    A network cut from the teacher has to learn more than one whose weights are whole, so its rates are higher. The
    factor of such students is stored as `fine_tuning_rate_share`: `confirm` trains the same recipe from random weights,
    too, and that training needs the learning rate of random weights.
    """
    if choices.initial_weights == RANDOM:
        factor = trial.suggest_float("learning_rate_factor", 0.25, 4.0, log=True)
        return {"learning_rate": base.learning_rate * factor, "fine_tuning_rate_share": 1.0}
    if choices.initial_weights == FROM_TEACHER:
        return {"fine_tuning_rate_share": trial.suggest_float("cut_rate_factor", 0.1, 2.0, log=True)}
    return {"fine_tuning_rate_share": trial.suggest_float("fine_tuning_rate_factor", 0.02, 1.0, log=True)}


def _suggest_parameters(trial: SpaceTrial, loss: str, weight: float) -> dict[str, float]:
    """Suggest the parameters of a loss that depend on the task; the others keep the values of its paper."""
    parameters: dict[str, float] = {}
    if loss in STANDARDISED:
        parameters["standardise"] = float(trial.suggest_int("standardise", 0, 1))
    default = STANDARDISED_WEIGHT if parameters.get("standardise") else weight
    parameters["weight"] = default * trial.suggest_float("weight_factor", 1 / 3, 3.0, log=True)
    if loss in TEMPERED:
        parameters["temperature"] = trial.suggest_float("temperature", 1.0, 4.0, log=True)
    if loss == "dkd":
        parameters["beta"] = trial.suggest_float("dkd_beta", 0.25, 4.0, log=True)
    if loss == "nkd":
        parameters["gamma"] = trial.suggest_float("nkd_gamma", 0.5, 3.0, log=True)
    return parameters


def _suggest_remedy(trial: SpaceTrial, loss: str, choices: RecipeChoices) -> str:
    """Suggest what adapts the teacher's influence. Each set of options has its own name: a study cannot change them."""
    remedies = ["none", "anneal", "until", "plateau", "weighting"]
    name = "remedy_logits" if loss in LOGITS else "remedy_features"
    if loss in TEMPERED:
        name = "remedy_tempered"
        remedies.append("temperature")
    if loss in LOGITS and choices.releases and _NO_MIX in choices.mixes:
        remedies.append("release")
    elif loss in LOGITS:
        name += "_without_release"
    return str(trial.suggest_categorical(name, remedies))


def _suggest_adaptation(trial: SpaceTrial, remedy: str, epochs: int) -> dict[str, Any]:
    match remedy:
        case "anneal":
            schedule = trial.suggest_categorical("anneal_schedule", ["linear", "cosine"])
            return {"weight_schedule": schedule, "weight_end": 0.0}
        case "until":
            return {"teacher_until": trial.suggest_float("teacher_until", 0.3, 0.9)}
        case "plateau":
            share = trial.suggest_float("plateau_share", 0.05, 0.3)
            return {"teacher_patience": max(1, round(share * epochs))}
        case "temperature":
            schedule = trial.suggest_categorical("temperature_annealing", ["linear", "cosine"])
            end = trial.suggest_float("temperature_end", 1.0, 4.0, log=True)
            return {"temperature_schedule": schedule, "temperature_end": end}
        case "weighting":
            return {"sample_weighting": trial.suggest_categorical("sample_weighting", ["confidence", "correctness"])}
    return {"release": True} if remedy == "release" else {}


def _suggest_mix(trial: SpaceTrial, remedy: str, choices: RecipeChoices) -> str:
    if remedy == "release":
        return _NO_MIX
    return choices.mixes[0] if len(choices.mixes) == 1 else str(trial.suggest_categorical("mix", choices.mixes))
