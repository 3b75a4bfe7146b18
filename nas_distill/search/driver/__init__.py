"""Bookkeeping of a search: which trial runs next, and what its end means. No Ray, no Optuna."""
