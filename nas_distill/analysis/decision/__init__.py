"""The one decision of a run: which student to take, and what to do about every other.

`decide.decide` returns a `records.Decision`. Report, command line, `picks.json` and `Run` show parts of it and decide
nothing themselves. `evidence` chooses the gap to trust for each student, `headline` the student to take, `remedies`
what follows from each verdict.
"""
