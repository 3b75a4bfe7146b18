"""Samplers of candidates: Optuna's, a TPE for long studies, and the user's own classes."""
