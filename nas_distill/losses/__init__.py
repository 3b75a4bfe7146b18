"""Distillation losses: pure functions, their registry, and their weighted sum."""
