"""Teacher assistants: students of intermediate size that teach smaller ones.

`choice` decides which student teaches which others; `gain` measures what that gained.
"""
