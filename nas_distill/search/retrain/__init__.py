"""Trainings after the search: teacher assistants, cross-validation and confirmation of picked students."""
