"""The shipped search spaces: one module each, with a define-by-run function `space(trial) -> StudentSpec`."""
