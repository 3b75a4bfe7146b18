"""Distillation losses: pure functions, the registry that names them, and their weighted sum."""
