"""Classify images with a student: from the folder of a trial, or from a file that was exported."""
