"""Analysis of finished trials. The entry point is `run.Run`: front, picks, diagnosis, law, effects, confirmation.

Imports neither torch nor Ray; only `trials.study_reader` imports Optuna. `stats` owns all intervals, and `formatting`
all numbers with units.
"""
