"""Parse texts of a configuration: YAML, durations and database URLs."""
