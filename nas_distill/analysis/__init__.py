"""What the finished trials mean: the study as a table, the Pareto front and the picks.

Knows neither torch nor Ray; only `frame` knows Optuna.
"""
