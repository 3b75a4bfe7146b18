"""Find what is damaged in a run directory, and restore what can be restored."""
