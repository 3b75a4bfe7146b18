"""The shipped search spaces: one module per space, with a define-by-run function `space(trial, context)`."""
