"""What the driver's and the workers' side of a search call what they tell each other. Imports nothing."""

ASSIGNMENT = "assignment"
"""In a worker's configuration: an `Assignment`, as JSON."""

NUMBER = "number"
"""In a worker's configuration: the assignment's."""

EPOCH = "epoch"
"""In a report: epochs trained so far."""

CIRCUMSTANCES = "circumstances"
"""Reported at a rung, where the driver decides whether the trial goes on: the worker's share of its record, as JSON."""
