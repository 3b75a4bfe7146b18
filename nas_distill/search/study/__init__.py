"""The study of a search: its ledger, database, metadata and the values reported to the sampler."""
