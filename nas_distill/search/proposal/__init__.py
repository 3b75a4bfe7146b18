"""Proposes candidates: asks the sampler, measures their cost, applies limits, and rejects what cannot be trained."""
