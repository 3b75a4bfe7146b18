"""The search: Optuna proposes, Ray Tune runs, the run directory remembers."""
