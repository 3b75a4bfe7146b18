"""Recipes to search over, next to the architecture: `--recipe search`."""

from __future__ import annotations

from typing import Any

from nas_distill.records import Adaptation, Recipe, RecipeChoices, SpaceTrial

TEMPERED = ("kd", "dkd", "dist", "mlkd", "nkd", "wsld")
"""Losses of logits with a fixed temperature."""

STANDARDISED = ("kd", "dkd", "ctkd")
"""Losses that the paper of z-scores has them with (Sun et al. 2024, arXiv 2403.01427)."""

STANDARDISED_WEIGHT = 9.0
"""That they have there: logits of unit variance pull far more weakly than raw ones."""

LOGITS = (*TEMPERED, "ctkd")
"""Losses of logits alone."""

CHOSEN = (
    "losses", "label_weight", "label_smoothing", "dropout", "drop_path", "ema_decay", "schedule", "adaptive",
    "early_stopping_patience",
)  # fmt: skip
"""Fields of a recipe that are chosen whatever the section `recipe` says; the others are its own, or follow it."""

_NO_MIX = "none"


def recipe(trial: SpaceTrial, base: Recipe, choices: RecipeChoices) -> Recipe:
    """The loss and its parameters, what adapts it, the mixing of images, learning rate, regularisation, averaging.

    What the user fixed for all trials stays: epochs, batch size, optimiser, warm-up, clipping. Parameters of a choice
    are asked for only where it was made, under names that always mean the same range.
    """
    loss = trial.suggest_categorical("loss", ["none", *choices.losses])
    remedy = "none" if loss == "none" else _remedy(trial, loss, choices)
    patience = trial.suggest_categorical("patience_share", [0.0, 0.2, 0.4])
    changes: dict[str, Any] = {
        "losses": {} if loss == "none" else {loss: _parameters(trial, loss, choices.weights[loss])},
        "label_weight": 1.0 if loss == "none" else trial.suggest_float("label_weight", 0.05, 1.0, log=True),
        "adaptive": Adaptation(**_adaptation(trial, remedy, base.epochs)),
        "mix": _mix(trial, remedy, choices),
        "learning_rate": base.learning_rate * trial.suggest_float("learning_rate_factor", 0.25, 4.0, log=True),
        "schedule": trial.suggest_categorical("schedule", ["cosine", "linear"]),
        "weight_decay": base.weight_decay * trial.suggest_float("weight_decay_factor", 0.1, 10.0, log=True),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.1, step=0.02),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3, step=0.1),
        "drop_path": trial.suggest_float("drop_path", 0.0, 0.2, step=0.05),
        "ema_decay": trial.suggest_categorical("ema_decay", [0.0, 0.9, 0.98, 0.995]),
        "early_stopping_patience": max(1, round(patience * base.epochs)) if patience else 0,
    }
    return Recipe(**{**dict(base), **changes})


def _parameters(trial: SpaceTrial, loss: str, weight: float) -> dict[str, float]:
    """Asks for what is a matter of taste in each loss; its other parameters stay as in its paper."""
    parameters: dict[str, float] = {}
    if loss in STANDARDISED:
        parameters["standardise"] = float(trial.suggest_int("standardise", 0, 1))
    usual = STANDARDISED_WEIGHT if parameters.get("standardise") else weight
    parameters["weight"] = usual * trial.suggest_float("weight_factor", 1 / 3, 3.0, log=True)
    if loss in TEMPERED:
        parameters["temperature"] = trial.suggest_float("temperature", 1.0, 4.0, log=True)
    if loss == "dkd":
        parameters["beta"] = trial.suggest_float("dkd_beta", 0.25, 4.0, log=True)
    if loss == "nkd":
        parameters["gamma"] = trial.suggest_float("nkd_gamma", 0.5, 3.0, log=True)
    return parameters


def _remedy(trial: SpaceTrial, loss: str, choices: RecipeChoices) -> str:
    """Asks for what adapts the teacher's part; a name of its own for each set of answers, which may not change."""
    remedies = ["none", "anneal", "until", "plateau", "weighting"]
    name = "remedy_logits" if loss in LOGITS else "remedy_features"
    if loss in TEMPERED:
        name = "remedy_tempered"
        remedies.append("temperature")
    if loss in LOGITS and choices.releases and _NO_MIX in choices.mixes:
        remedies.append("release")
    elif loss in LOGITS:
        name += "_kept"
    return str(trial.suggest_categorical(name, remedies))


def _adaptation(trial: SpaceTrial, remedy: str, epochs: int) -> dict[str, Any]:
    match remedy:
        case "anneal":
            course = trial.suggest_categorical("anneal_course", ["linear", "cosine"])
            return {"weight_schedule": course, "weight_end": 0.0}
        case "until":
            return {"teacher_until": trial.suggest_float("teacher_until", 0.3, 0.9)}
        case "plateau":
            share = trial.suggest_float("plateau_share", 0.05, 0.3)
            return {"teacher_patience": max(1, round(share * epochs))}
        case "temperature":
            course = trial.suggest_categorical("temperature_schedule", ["linear", "cosine"])
            end = trial.suggest_float("temperature_end", 1.0, 4.0, log=True)
            return {"temperature_schedule": course, "temperature_end": end}
        case "weighting":
            return {"sample_weighting": trial.suggest_categorical("sample_weighting", ["confidence", "correctness"])}
    return {"release": True} if remedy == "release" else {}


def _mix(trial: SpaceTrial, remedy: str, choices: RecipeChoices) -> str:
    if remedy == "release":
        return _NO_MIX
    return choices.mixes[0] if len(choices.mixes) == 1 else str(trial.suggest_categorical("mix", choices.mixes))
