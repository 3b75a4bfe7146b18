"""The study of a run as tables of trials and curves, and filters on them."""
