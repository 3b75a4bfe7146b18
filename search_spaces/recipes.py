"""Recipes to search over, next to the architecture: `--recipe search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas_distill.records import Recipe

if TYPE_CHECKING:
    from optuna import Trial


def recipe(trial: Trial, base: Recipe) -> Recipe:
    """Distillation losses and their parameters, learning rate, weight decay, dropout, smoothing and averaging.

    What the user fixed for all trials stays: epochs, batch size, optimiser, warm-up, clipping, early stopping.
    """
    loss = trial.suggest_categorical("loss", ["none", "kd", "dkd", "dist", "nkd", "wsld"])
    changes: dict[str, Any] = {
        "losses": {} if loss == "none" else {loss: _parameters(trial, loss)},
        "label_weight": 1.0 if loss == "none" else trial.suggest_float("label_weight", 0.05, 1.0, log=True),
        "learning_rate": base.learning_rate * trial.suggest_float("learning_rate_factor", 0.25, 4.0, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.2, log=True),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.1, step=0.02),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3, step=0.1),
        "drop_path": trial.suggest_float("drop_path", 0.0, 0.2, step=0.05),
        "ema_decay": trial.suggest_categorical("ema_decay", [0.9, 0.98, 0.995]),
    }
    return Recipe(**{**dict(base), **changes})


def _parameters(trial: Trial, loss: str) -> dict[str, float]:
    """Asks for what is a matter of taste in each loss; its other parameters stay as in its paper."""
    parameters = {"weight": trial.suggest_float(f"{loss}_weight", 0.3, 3.0, log=True)}
    if loss in ("kd", "dkd", "dist", "wsld"):
        parameters["temperature"] = trial.suggest_float(f"{loss}_temperature", 1.0, 8.0, log=True)
    if loss in ("kd", "dkd"):
        parameters["standardise"] = float(trial.suggest_int(f"{loss}_standardise", 0, 1))
    if loss == "dkd":
        parameters["beta"] = trial.suggest_float("dkd_beta", 0.5, 8.0, log=True)
    if loss == "nkd":
        parameters["gamma"] = trial.suggest_float("nkd_gamma", 0.5, 3.0, log=True)
    return parameters
