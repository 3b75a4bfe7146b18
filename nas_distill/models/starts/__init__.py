"""Weights that a student's training can start from, other than those of the search's teacher."""
