"""Calibrate the probabilities of a trained network by one temperature."""
