"""Train one network: the loop, its metrics and its checkpoints. No Ray, no Optuna."""
